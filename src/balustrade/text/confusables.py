"""Letters that look like Latin letters: our own table, by script.

Only capital and small letters whose printed shape is that of a Latin letter in common fonts are
listed. Letters that merely sound alike, or that differ by a visible stroke, are not.
"""

from __future__ import annotations

_CYRILLIC = (
    "аАвВеЕкКмМнНоОрРсСтТуУхХѕЅіІјЈһҺԁԛԜԝԌүҮѵѴӏӀьв",
    "aABBeEkKmMHHoOpPcCTTyYxXsSiIjJhHdqWwGyYvVlIbB",
)
_GREEK = (
    "αΑβΒεΕΖηΗιΙκΚΜνΝοΟρΡτΤυΥχΧωϲϹϳͿ",
    "aAbBeEZnHiIkKMvNoOpPtTuYxXwcCjJ",
)
_ARMENIAN = ("օՕհոսցքՏՍԼղ", "oOhnugpSULn")
_CHEROKEE = (
    "ᎪᎫᎬᎳᎷᎻᏀᏃᏎᏒᏔᏚᏞᏟᏢᏦᏴᏙᎢᎡᏕᏩᏂᎥᏤ",
    "AJEWMHGZ4RWSLCPKBVTRSGhiV",
)
_ALWAYS = (
    # Small capitals, phonetic and archaic letters: nobody's alphabet, so always folded.
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡⲟⲞⲥⲤⲣⲢꓐꓑꓒꓓꓔꓖꓗꓘꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓨꓪꓫꓬꓮꓰꓲꓳꓴ",
    "ABCDEFGHIJKLMNOPRSTUVWYZagoOcCpPBPdDTGKkJCZFMNLSRVHGWXYAEIOU",
)

_SCRIPTS = {
    "cyrillic": ("\u0400-\u052f", _CYRILLIC),
    "greek": ("\u0370-\u03ff\u1f00-\u1fff", _GREEK),
    "armenian": ("\u0530-\u058f", _ARMENIAN),
    "cherokee": ("\u13a0-\u13ff\uab70-\uabbf", _CHEROKEE),
}

RANGES: dict[str, str] = {name: letters for name, (letters, _) in _SCRIPTS.items()}
"""Each script's letters, as the inside of a character class."""

TO_LATIN: dict[str, dict[int, str]] = {
    name: {ord(a): b for a, b in zip(*table, strict=True)} for name, (_, table) in _SCRIPTS.items()
}
"""For each script, its look-alikes and the Latin letter that each is taken for."""

FROM_LATIN: dict[str, dict[int, str]] = {
    name: {ord(b): a for a, b in reversed(list(zip(*table, strict=True))) if b.isalpha()}
    for name, (_, table) in _SCRIPTS.items()
}
"""The other way: Latin letters that stand in words of another script."""

ALWAYS: dict[int, str] = {ord(a): b for a, b in zip(*_ALWAYS, strict=True)} | {
    # Negative circled and squared capitals: a font trick that compatibility folding leaves alone.
    **{0x1F150 + n: chr(65 + n) for n in range(26)},
    **{0x1F170 + n: chr(65 + n) for n in range(26)},
}
"""Shapes that are folded wherever they stand."""

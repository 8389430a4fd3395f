"""Cut a text into the smallest stretches that mean something: words, or short runs of characters.

Where a script writes spaces, a unit is a word. Where it writes none (Chinese, Japanese, Thai, Lao,
Khmer, Burmese) it is a short run of characters of one script, so that no dictionary is needed.
"""

from __future__ import annotations

import re

LONGEST = 40
"""Characters of one unit at most; a longer run without a break is cut."""

_HAN = "\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA = "\u3040-\u309f"
_KATAKANA = "\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_THAI = "\u0e00-\u0eff"
_BURMESE = "\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
_ABOVE = (
    "\u0e30-\u0e3a\u0e45\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059"
    "\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u17b4-\u17d3\u17dd"
)
"""Vowels and tones that stand on, under or behind the letter they belong to."""

_SIGNS = (
    r"\s!-/:-@\[-`{-~\u0080-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u055a-"
    r"\u055f\u0589\u05be\u05c0\u05c3\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u200b"
    r"\u200e-\u206f\u20a0-\u20cf\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u3000-\u3004\u3008-\u3020\u3030\u303d\ufe10-\ufe1f"
    r"\ufe30-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001ffff"
)
"""White space, punctuation and symbols; letters of every script are what is left."""

_LETTER = f"[^{_SIGNS}{_HAN}{_HIRAGANA}{_KATAKANA}{_THAI}{_BURMESE}]"
_UNIT = re.compile(
    f"[{_HAN}]{{1,2}}"
    f"|[{_HIRAGANA}]{{1,4}}"
    f"|[{_KATAKANA}]{{1,8}}"
    f"|[{_THAI}][{_THAI}]{{0,3}}[{_ABOVE}]*"
    f"|[{_BURMESE}][{_BURMESE}]{{0,3}}[{_ABOVE}]*"
    f"|{_LETTER}{{1,{LONGEST}}}(?:['\u2019]{_LETTER}{{1,{LONGEST}}})?"
    f"|(?<!\\S)[^\\w\\s]{{1,{LONGEST}}}(?=\\s|$)"
)


def units(text: str) -> list[tuple[int, int]]:
    """Return the spans of a text's units, in order; none if it holds white space alone.

    Signs are no part of a unit unless they stand alone between spaces, or the text has nothing
    else.
    """
    found = [match.span() for match in _UNIT.finditer(text)]
    bare = text.strip()
    if found or not bare:
        return found
    start = text.index(bare)
    return [(start, start + len(bare))]

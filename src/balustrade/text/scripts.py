"""Fold look-alike letters of other scripts, where a word is not honestly of its script."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from balustrade.text.confusables import FROM_LATIN, RANGES, TO_LATIN

_LATIN = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_MARKS = "\u0300-\u036f"
_ANY = re.compile(f"[{''.join(RANGES.values())}]")
_HAS_LATIN = re.compile(f"[{_LATIN}]")


class Script(NamedTuple):
    """What tells an honest word of a script from a disguised one."""

    letter: re.Pattern[str]
    genuine: re.Pattern[str]
    """A letter that is like no Latin letter."""
    word: re.Pattern[str]
    """A word with a letter of the script in it, and perhaps Latin ones."""
    to_latin: dict[int, str]
    from_latin: dict[int, str]


def fold_scripts(text: str) -> str:
    """Return the text with disguised words written in one script; the same object if none is.

    A letter becomes one letter, so positions do not change.
    """
    if not _ANY.search(text):
        return text
    for name in RANGES:
        script = _script(name)
        if script.letter.search(text):
            text = _fold(text, script)
    return text


@cache
def _script(name: str) -> Script:
    letters, to_latin = RANGES[name], TO_LATIN[name]
    alike = "".join(map(chr, to_latin))
    return Script(
        re.compile(f"[{letters}]"),
        re.compile(f"(?![{alike}\u0387\u037e])[{letters}]"),
        # Begins where a word does: else every letter of a long one would be tried as its first.
        re.compile(
            f"(?<![{_LATIN}{_MARKS}{letters}])"
            f"[{_LATIN}{_MARKS}]*[{letters}][{_LATIN}{_MARKS}{letters}]*"
        ),
        to_latin,
        FROM_LATIN[name],
    )


def _fold(text: str, script: Script) -> str:
    has_latin = _HAS_LATIN.search(text)
    if not has_latin:
        return text
    honest = any(
        script.genuine.search(match[0]) and not _HAS_LATIN.search(match[0])
        for match in script.word.finditer(text)
    )

    def whole(match: re.Match[str]) -> str:
        word = match[0]
        if not script.genuine.search(word):
            mixed = _HAS_LATIN.search(word)
            return word.translate(script.to_latin) if mixed or not honest else word
        latin = len(_HAS_LATIN.findall(word))
        if 2 * latin >= len(word):
            return word
        native = word.translate(script.from_latin)
        return word if _HAS_LATIN.search(native) else native

    folded = script.word.sub(whole, text)
    return text if folded == text else folded

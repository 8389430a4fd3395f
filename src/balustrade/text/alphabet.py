"""Which characters folding must look at, asked of Python's own Unicode tables once."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain
from typing import NamedTuple

from balustrade.text.confusables import ALWAYS

# Ideographs, Hangul syllables, private use and unassigned planes hold nothing that folds.
_PLACES = (
    range(0xA0, 0x3400),
    range(0xA000, 0xAC00),
    range(0xF900, 0x10000),
    range(0x10000, 0x17000),
    range(0x1AFF0, 0x20000),
    range(0x2F800, 0x2FA20),
)


_RARE = re.compile("[\U00010000-\U0001f1ff\U0001fbf0-\U0001fbf9\U0002f800-\U0002fa1f]")
"""What folds beyond the first plane of Unicode; pictures, which do not, stay out of it."""


class Alphabet(NamedTuple):
    """Insides of character classes, and what finds the runs that folding may change."""

    marks: str
    """Combining marks."""
    always: str
    """Letters of no orthography, folded wherever they stand."""
    runs: re.Pattern[str]
    """One for one runs; a folding letter with what combines with it; what combines alone."""
    stretches: re.Pattern[str]
    """What any of these may be in; begins with a class, so that searching is fast."""


def alphabet(text: str) -> Alphabet:
    """Return the classes that this text needs; 30 ms at the first call."""
    return _alphabet(0x10FFFF if _RARE.search(text) else 0xFFFF)


@cache
def _alphabet(last: int) -> Alphabet:
    """Return the classes up to a code point; Python looks up those of the first plane at once."""
    joins = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    folds: dict[int, str] = {code: chr(code) for code in ALWAYS}
    marks: set[int] = set()
    for code in chain(*_PLACES):
        char = chr(code)
        if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
            marks.add(code)
        parts = unicodedata.decomposition(char)
        if parts:
            folds[code] = unicodedata.normalize("NFKC", char)
            joins |= _second(parts)
    joins |= marks
    joins |= {code for code, to in folds.items() if unicodedata.combining(to[0])}
    joins |= {code for code, to in folds.items() if ord(to[0]) in joins}
    changed = {code: to for code, to in folds.items() if to != chr(code) or code in ALWAYS}
    single = {code for code, to in changed.items() if len(to) == 1}
    single, several, joins, marks = (
        {code for code in codes if code <= last}
        for codes in (single - joins, set(changed) - single - joins, joins, marks)
    )
    return Alphabet(
        _inside(marks),
        _inside(set(ALWAYS) & single),
        _runs(single, several, joins),
        _starting(_inside(single | several | joins)),
    )


def _starting(inside: str) -> re.Pattern[str]:
    return re.compile(f"[{inside}][{inside}]*")


def _second(parts: str) -> set[int]:
    """Return the letter that a canonical decomposition adds to the first, if it does."""
    first, *rest = parts.split()
    return set() if first.startswith("<") or not rest else {int(rest[0], 16)}


def _runs(single: set[int], several: set[int], joins: set[int]) -> re.Pattern[str]:
    one, many, join = map(_inside, (single, several, joins))
    return re.compile(f"[{one}]+(?![{join}])|[{one}{many}][{join}]*|(?P<joins>[{join}]+)")


def _inside(codes: set[int]) -> str:
    """Return code points as the inside of a character class, in ranges."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)

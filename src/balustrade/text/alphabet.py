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


class Alphabet(NamedTuple):
    """Insides of character classes, and what finds the runs that folding may change."""

    marks: str
    """Combining marks."""
    runs: re.Pattern[str]
    """One for one runs; a folding letter with what combines with it; what combines alone."""


@cache
def alphabet() -> Alphabet:
    """Return the classes for this Python's Unicode version; 30 ms at the first call."""
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
    return Alphabet(_inside(marks), _runs(single - joins, set(changed) - single - joins, joins))


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

"""Places inside JSON text: what of a span can be replaced without breaking the JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null', re.DOTALL)
_UNIT = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL
)


class Place(NamedTuple):
    """A place that can be replaced: inside a string, or a whole number, truth value or null."""

    start: int
    end: int
    value: str
    """What it means, without escapes."""
    bare: bool
    """Whether it stands without quotes."""


def is_json(text: str) -> bool:
    """Whether the text is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def places(text: str, start: int, end: int) -> Iterator[Place]:
    """Yield the places of valid JSON that a span touches, in order; structure is never in one."""
    for match in _SCALAR.finditer(text):
        first, last = match.span()
        if last <= start:
            continue
        if first >= end:
            return
        if text[first] != '"':
            yield Place(first, last, match[0], bare=True)
            continue
        place = _inside(text, max(first + 1, start), min(last - 1, end), first + 1, last - 1)
        if place is not None:
            yield place


def _inside(text: str, start: int, end: int, first: int, last: int) -> Place | None:
    """Widen a span inside a string so that it cuts no escape."""
    if start >= end:
        return None
    if "\\" in text[first:last]:
        units = [unit.span() for unit in _UNIT.finditer(text, first, last)]
        start = max(a for a, _ in units if a <= start)
        end = min(b for _, b in units if b >= end)
    return Place(start, end, json.loads(f'"{text[start:end]}"', strict=False), bare=False)

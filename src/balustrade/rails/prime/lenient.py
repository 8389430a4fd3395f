"""Read the JSON objects in what a model wrote, mended where models break them; never run it.

Models fence their JSON, talk around it, break off, leave commas, write Python's literals or line
breaks inside strings. Each repair here keeps every character of a string as it was written.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

LONGEST = 64_000
"""Characters that are read; what follows is not looked at."""

PATIENCE = 100_000
"""Characters of broken objects that are mended in all, so that a bomb of braces costs little."""

_strict = json.JSONDecoder(strict=False)
"""Not `strict` about control characters: a line break in a string stays one."""


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects that stand in a text, in order; none inside another."""
    text = text[:LONGEST]
    found: list[dict[str, Any]] = []
    place, left = text.find("{"), PATIENCE
    while place >= 0 and left > 0:
        value, end = _at(text, place)
        if value is None:
            left -= len(text) - place
        else:
            found.append(value)
        place = text.find("{", end)
    return found


def keyed(found: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return an object's values under the keys they are meant for: of any case, misspelt a little.

    A key that is exactly one of `keys` goes before one that is nearly one.
    """
    named: dict[str, Any] = {}
    near: dict[str, Any] = {}
    for name, value in found.items():
        low = name.strip().lower().replace(" ", "_").replace("-", "_")
        if low in keys:
            named[low] = value
            continue
        close = [key for key in keys if distance(low, key) <= 2]
        if len(close) == 1:
            near[close[0]] = value
    return near | named


def distance(left: str, right: str) -> int:
    """Return how many letters must be put in, taken out or changed (Levenshtein 1966)."""
    if abs(len(left) - len(right)) > 2:
        return 3
    row = list(range(len(right) + 1))
    for number, letter in enumerate(left, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(right, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (letter != other)),
            )
    return row[-1]


def _at(text: str, place: int) -> tuple[dict[str, Any] | None, int]:
    """Return the object that begins at a place, and where the search goes on."""
    try:
        value, end = _strict.raw_decode(text, place)
    except (ValueError, RecursionError):
        pass
    else:
        return (value, end) if isinstance(value, dict) else (None, place + 1)
    end = _end(text, place)
    for mended in _mended(text[place:end]):
        value = _read(mended)
        if isinstance(value, dict):
            return {str(name): each for name, each in value.items()}, end
    return None, place + 1


def _read(text: str) -> object:
    """Return what a text says as JSON, or as a literal of Python; None if it is neither."""
    try:
        return _strict.decode(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


class _Seen(NamedTuple):
    """A letter, and how things stand after it."""

    place: int
    letter: str
    is_said: bool
    """Whether the letter belongs to a string, its quotes included."""
    quote: str
    """The quote of a string that is still open."""
    is_escaped: bool
    """Whether the next letter is escaped."""


def _scan(text: str, place: int = 0) -> Iterator[_Seen]:
    """Walk through JSON, or what was meant to be JSON."""
    quote, is_escaped = "", False
    for number in range(place, len(text)):
        letter, is_said = text[number], bool(quote)
        if is_escaped:
            is_escaped = False
        elif quote and letter == "\\":
            is_escaped = True
        elif quote and letter == quote:
            quote = ""
        elif not quote and (letter == '"' or (letter == "'" and _opens(text, number))):
            quote, is_said = letter, True
        yield _Seen(number, letter, is_said, quote, is_escaped)


def _opens(text: str, place: int) -> bool:
    """Whether an apostrophe stands where a string may begin, not inside a word."""
    before = text[:place].rstrip()
    return bool(before) and before[-1] in "{[:,"


def _end(text: str, place: int) -> int:
    """Return where the braces that open at a place are closed; the text's end if they are not."""
    depth = 0
    for seen in _scan(text, place):
        if not seen.is_said and seen.letter in "{}":
            depth += 1 if seen.letter == "{" else -1
            if depth == 0:
                return seen.place + 1
    return len(text)


def _mended(piece: str) -> Iterator[str]:
    """Yield a broken object mended, in the order of how little is assumed."""
    yield _without_commas(_closed(piece))
    if "," in piece:
        # A last key that has no value yet is dropped.
        yield _without_commas(_closed(piece[: piece.rfind(",")]))


def _closed(piece: str) -> str:
    """Close what was left open at the end: a string, brackets, braces."""
    open_: list[str] = []
    seen = None
    for seen in _scan(piece):
        if seen.is_said:
            continue
        if seen.letter in "{[":
            open_.append("}" if seen.letter == "{" else "]")
        elif seen.letter in "}]" and open_:
            open_.pop()
    if seen is None:
        return piece
    whole = piece[:-1] if seen.is_escaped else piece
    return whole + seen.quote + "".join(reversed(open_))


def _without_commas(piece: str) -> str:
    """Take out commas before a closing bracket, outside of strings."""
    return "".join(
        seen.letter
        for seen in _scan(piece)
        if seen.is_said
        or seen.letter != ","
        or piece[seen.place + 1 :].lstrip()[:1] not in {"}", "]"}
    )

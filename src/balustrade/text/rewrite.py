"""Replace runs of a text, and keep the way back to where they stood."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from balustrade.text.normalise import Layer


class Change(NamedTuple):
    """A run of the text, what it reads as, and how that was found."""

    start: int
    end: int
    reading: str
    how: str


class Rewritten(NamedTuple):
    """A text with runs replaced; a run of its reading's size corresponds letter by letter."""

    text: str
    layer: Layer
    how: tuple[str, ...]


def rewrite(text: str, changes: Iterable[Change]) -> Rewritten | None:
    """Replace runs; of those that overlap the first in order stays. None if there is none."""
    pieces: list[str] = []
    starts, origins = [0], [0]
    here = done = 0
    how: dict[str, None] = {}
    for change in sorted(changes):
        if change.start < done:
            continue
        pieces += (text[done : change.start], change.reading)
        here += change.start - done
        starts += (here, here + len(change.reading))
        origins += (change.start, change.end)
        here += len(change.reading)
        done = change.end
        how[change.how] = None
    if not how:
        return None
    pieces.append(text[done:])
    starts.append(here + len(text) - done)
    origins.append(len(text))
    return Rewritten("".join(pieces), Layer(array("I", starts), array("I", origins)), tuple(how))

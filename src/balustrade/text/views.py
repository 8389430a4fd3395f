"""The readings of a text that should be judged: folded, decoded, and with letters put right.

Ordinary text has one reading, the folded one. Another is made only where one linear scan finds
what may be disguised, and undoing it gives text. Decoders replace what they decode in its place,
so a reading keeps its context, and there are at most `depth` + 6 of them, however much is nested
in what.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

from msgspec import Struct

from balustrade.core.errors import ContentError
from balustrade.text.decode import decode
from balustrade.text.evidence import Evidence, evidence
from balustrade.text.hidden import reveal
from balustrade.text.letters import backward, join_letters, rotate
from balustrade.text.normalise import Layer, normalise
from balustrade.text.rewrite import Rewritten

LONGEST = 4_000_000
"""Characters up to which a text is read at all."""

DEPTH = 3
"""How many times a text is decoded, what was decoded before included."""

GROWTH = 2
"""All readings but the first have together at most so many times the characters of the text."""

_SPARE = 65_536


class Step(Struct, frozen=True):
    """One pass over a text, and what it undid; folding is not named."""

    layer: Layer
    how: tuple[str, ...] = ()


class View(Struct, frozen=True):
    """One reading of a text."""

    text: str
    steps: tuple[Step, ...] = ()

    @property
    def how(self) -> tuple[str, ...]:
        """What was undone, in order; empty for the folded text."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.how))

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that a span of this reading stands for.

        What was decoded stands for the whole run that it was decoded from.
        """
        for step in reversed(self.steps):
            start, end = step.layer.original(start, end)
        return start, end

    def through(self, start: int, end: int) -> tuple[str, ...]:
        """Return what was undone to read this span, outermost first; empty if it only folds."""
        how: list[str] = []
        for step in reversed(self.steps):
            if step.how and _is_changed(step.layer, start, end):
                how += reversed(step.how)
            start, end = step.layer.original(start, end)
        return tuple(dict.fromkeys(reversed(how)))


def views(text: str, depth: int = DEPTH, *, guesses: bool = True) -> list[View]:
    """Return the readings of a text, the folded one first.

    Args:
        text: What to read.
        depth: How many times it is decoded at most.
        guesses: Whether letters are put right too, which spoils numbers and codes.

    Raises:
        ContentError: The text is longer than `LONGEST`, or its readings grow beyond `GROWTH`.
    """
    if len(text) > LONGEST:
        raise ContentError(
            f"expected a text of at most {LONGEST:,} characters, found {len(text):,}"
        )
    _expect_short_when_folded(text)
    found = [_folded(View(text))]
    if not text.isascii():
        found += _add(View(text), reveal(text))
    seen = evidence(found[-1].text)
    if len(found) == 1 and not any(seen):
        return found
    _decode(text, found, seen, depth)
    latest = found[-1]
    if not guesses:
        _expect_bounded(text, found)
        return found
    seen = evidence(latest.text)
    if seen.spelt:
        found += _add(latest, join_letters(latest.text))
    _expect_bounded(text, found)
    if seen.turned:
        for turned in (rotate(latest.text), *backward(latest.text)):
            found += _add(latest, turned)
    _expect_bounded(text, found)
    return found


def _decode(text: str, found: list[View], seen: Evidence, depth: int) -> None:
    """Add readings with ever more decoded, up to the depth."""
    for _ in range(depth):
        _expect_bounded(text, found)
        decoded = _add(found[-1], decode(found[-1].text, seen.encoded)) if seen.encoded else []
        if not decoded:
            break
        found += decoded
        seen = evidence(found[-1].text)


def disguise(how: tuple[str, ...]) -> str:
    """Return what was undone, as the note of a finding says it; empty if nothing was."""
    return f"read through {', '.join(how)}" if how else ""


def _add(view: View, rewritten: Rewritten | None) -> list[View]:
    if rewritten is None:
        return []
    step = Step(rewritten.layer, rewritten.how)
    return [_folded(View(rewritten.text, (*view.steps, step)))]


def _folded(view: View) -> View:
    folded = normalise(view.text)
    return View(folded.text, (*view.steps, *map(Step, folded.layers)))


def _is_changed(layer: Layer, start: int, end: int) -> bool:
    """Whether something in a span of the result is not as it stood before the pass."""
    first = bisect_right(layer.starts, start) - 1
    # What is kept and what is changed take turns, what is kept first.
    return first % 2 == 1 or bisect_right(layer.starts, max(end - 1, start)) - 1 > first


def _expect_bounded(text: str, found: list[View]) -> None:
    size = sum(len(view.text) for view in found[1:])
    most = GROWTH * len(text) + _SPARE
    if size > most:
        raise ContentError(
            f"expected readings of at most {most:,} characters of a text of {len(text):,}, "
            f"found {size:,}: it is encoded many times over"
        )


def _expect_short_when_folded(text: str) -> None:
    """Refuse a long text of signs that each stand for many letters, before it is folded."""
    if len(text) <= _SPARE or text.isascii():
        return
    most = GROWTH * len(text) + _SPARE
    size = 0
    for start in range(0, len(text), _SPARE):
        # Piece by piece, so that what is refused is refused before it has been folded whole.
        size += len(unicodedata.normalize("NFKC", text[start : start + _SPARE]))
        if size > most:
            raise ContentError(
                f"expected a text of {len(text):,} characters to fold to at most {most:,}, "
                "found more: it is made of compound signs"
            )

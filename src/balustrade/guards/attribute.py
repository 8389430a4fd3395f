"""Say which words of a text carried a model's score, by asking the model about parts of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import log
from typing import TypeAlias

from msgspec import Struct

from balustrade.core.call import Flow, classify
from balustrade.core.errors import BackendError
from balustrade.text.segment import units

PIECES = 32
"""Stretches that are weighed in one round."""

ROWS = 3 + 2 * 2 * PIECES
"""The most rows one attribution asks for, however long the text; all but one are of about half."""

_LEAST = 2.0**-25
"""Half the gap between 1 and the float32 below it."""

Stretch: TypeAlias = tuple[int, int]
"""From which unit to which, exclusive."""


class Weight(Struct, frozen=True):
    """What one stretch of a text, `start` to `end`, adds to a score, in logits."""

    start: int
    end: int
    weight: float


class Attribution(Struct, frozen=True):
    """A text's score for a label, and what its words add to it."""

    label: str
    score: float
    weights: tuple[Weight, ...]
    """In the order of the text; the heaviest word by word, others perhaps several together."""


def attribute(model: str, text: str, label: str, context: str = "") -> Flow[Attribution]:
    """Weigh each word of a text by what it adds to the logit of one label.

    The text is halved. A word's weight is what its own half loses without it and what the other
    half gains by it, averaged. These are its Shapley values, exactly, where the logit is a sum
    over words and pairs of words: whether two words need each other or repeat each other, each
    gets half of what they do together. Where more words act together it is an estimate.

    A text of more than `PIECES` words is weighed by stretches of as many words each, and the
    heaviest of these then word by word, by the same rule: two rounds, and `ROWS` rows at most.

    Args:
        model: Any that answers `Classify`.
        text: What was judged; how long it may be is for the caller to say.
        label: Which of the model's labels is explained.
        context: What the text answers; empty if nothing.

    Raises:
        BackendError: The model does not answer, or has no such label.
    """
    words = units(text)
    coarse = _cut((0, len(words)))
    halved = _Halved(text, words, coarse[len(coarse) // 2][0] if coarse else 0)
    rows = [text, *halved.halves, *halved.rows(coarse)]
    score, first, second, *rest = yield from _scores(model, rows, label, context)
    halves = _logit(first), _logit(second)
    weights = dict(zip(coarse, halved.weights(coarse, halves, rest), strict=True))
    fine: list[Stretch] = []
    for stretch in _heaviest(weights):
        del weights[stretch]
        fine += _cut(stretch)
    if fine:
        rest = yield from _scores(model, halved.rows(fine), label, context)
        weights |= zip(fine, halved.weights(fine, halves, rest), strict=True)
    placed = (
        Weight(words[first][0], words[last - 1][1], weight)
        for (first, last), weight in sorted(weights.items())
    )
    return Attribution(label, score, tuple(placed))


def _scores(model: str, rows: Sequence[str], label: str, context: str) -> Flow[list[float]]:
    contexts = [context] * len(rows) if context else ()
    reply = yield from classify(model, rows, contexts)
    found = reply.rows()
    if len(found) != len(rows) or label not in reply.labels:
        raise BackendError(
            f"model {model!r} gave {len(found)} rows for {len(rows)} texts, with the labels "
            f"{', '.join(reply.labels) or 'none'}; expected {label!r} of each"
        )
    column = reply.labels.index(label)
    return [row[column] for row in found]


class _Halved:
    """A text in two halves, and what becomes of them as stretches go and come.

    Args:
        text: The whole.
        words: The spans of its units.
        middle: The unit with which the second half begins.
    """

    def __init__(self, text: str, words: Sequence[tuple[int, int]], middle: int) -> None:
        self._text = text
        self._middle = middle
        # Signs and spaces go with the word before them.
        self._edges = [0, *(start for start, _ in words[1:]), len(text)] if words else [0, 0]
        self._last = len(words)

    @property
    def halves(self) -> tuple[str, str]:
        """The two halves."""
        return self._of((0, self._middle)), self._of((self._middle, self._last))

    def rows(self, stretches: Iterable[Stretch]) -> list[str]:
        """Return for each stretch its half without it, and the other half with it."""
        return [row for stretch in stretches for row in self._both(stretch)]

    def weights(
        self, stretches: Sequence[Stretch], halves: tuple[float, float], scores: Sequence[float]
    ) -> Iterator[float]:
        """Yield what each stretch adds, from the halves' logits and the scores of its rows."""
        for (first, _), without, by in zip(stretches, scores[::2], scores[1::2], strict=True):
            own, other = halves if first < self._middle else halves[::-1]
            yield (own - _logit(without) + _logit(by) - other) / 2

    def _both(self, stretch: Stretch) -> tuple[str, str]:
        first, last = stretch
        it = self._of(stretch)
        if first < self._middle:
            without = self._of((0, first)) + self._of((last, self._middle))
            return without, it + self._of((self._middle, self._last))
        without = self._of((self._middle, first)) + self._of((last, self._last))
        return without, self._of((0, self._middle)) + it

    def _of(self, stretch: Stretch) -> str:
        return self._text[self._edges[stretch[0]] : self._edges[stretch[1]]]


def _cut(stretch: Stretch) -> list[Stretch]:
    """Cut a stretch into units, or into `PIECES` parts of equal size if it has more."""
    first, last = stretch
    count = min(last - first, PIECES)
    return list(pairwise(first + (last - first) * n // count for n in range(count + 1) if count))


def _heaviest(weights: dict[Stretch, float]) -> list[Stretch]:
    """Return the stretches to look into: the heaviest, as many as one round can take."""
    left = PIECES
    chosen = []
    for stretch in sorted(weights, key=lambda each: -weights[each]):
        size = min(stretch[1] - stretch[0], PIECES)
        if weights[stretch] <= 0 or size > left:
            break
        if size > 1:
            chosen.append(stretch)
            left -= size
    return chosen


def _logit(score: float) -> float:
    bounded = min(max(score, _LEAST), 1.0 - _LEAST)
    return log(bounded / (1.0 - bounded))

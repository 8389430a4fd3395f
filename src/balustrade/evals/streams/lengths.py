"""Harmless answers of any length: those that are long enough, and others one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from balustrade.core.errors import DataError
from balustrade.evals.streams.answers import Answer

BOUNDS = (0, 100, 500, 1_000, 2_000, 4_000)
"""A class of lengths holds answers of more words than one bound, up to as many as the next."""

CLASSES = tuple(pairwise(BOUNDS))


def joined(harmless: Sequence[Answer], low: int, high: int, count: int, seed: int) -> list[Answer]:
    """Return answers of `low` + 1 to `high` words, made of harmless ones of one language each.

    Each is cut off at its length, so it ends as a stream does that somebody breaks off. Its
    request is that of its first part. No part stands in an answer twice before all others of its
    language have, and lengths are spread evenly over the class.

    Args:
        harmless: What they are made of.
        low: The words of one must be more.
        high: The words of one are at most so many.
        count: How many to make.
        seed: Which lengths, and which parts in which order.

    Raises:
        DataError: One of them is called harmful, or has no words.
    """
    for answer in harmless:
        if answer.unsafe or not answer.words:
            raise DataError(f"answer {answer.id!r}: expected a harmless answer with words")
    rng = Random(f"{seed} {high}")  # noqa: S311 - not for secrets
    spoken = {answer.lang: _Deck([a for a in harmless if a.lang == answer.lang], rng)
              for answer in harmless}  # fmt: skip
    found = []
    for number in range(count if harmless else 0):
        words = rng.randint(low + 1, high)
        deck = spoken[rng.choice(harmless).lang]
        found.append(_cut(f"joined-{high}-{number}", deck, words))
    return found


class _Deck:
    """Answers that are drawn in a new order each time all have been."""

    def __init__(self, answers: Sequence[Answer], rng: Random) -> None:
        self._answers = [*answers]
        self._rng = rng
        self._left: list[Answer] = []

    def draw(self) -> Answer:
        if not self._left:
            self._left = [*self._answers]
            self._rng.shuffle(self._left)
        return self._left.pop()


def _cut(name: str, deck: _Deck, words: int) -> Answer:
    """Return parts of a deck one after the other, as far as so many words."""
    first = part = deck.draw()
    texts: list[str] = []
    left = words
    while left > part.words:
        texts.append(part.text.strip())
        left -= part.words
        part = deck.draw()
    texts.append("".join(part.chunks[:left]).strip())
    return Answer(name, first.request, "\n\n".join(texts), False, first.lang)

"""Carry labels of words over to the tokens of a text that was tokenised once, as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from balustrade.core.errors import DataError
from balustrade.data.fineharm import FineHarm
from balustrade.models.scm import BENIGN, HARMFUL, IGNORED

Span = tuple[int, int]


class Labelled(NamedTuple):
    """A stretch of text and its label."""

    start: int
    end: int
    label: int


def spans(row: FineHarm) -> list[Labelled]:
    """Return where each word stands in the answer, and its label, in order.

    Raises:
        DataError: A word does not follow in the answer where its sentence says.
    """
    found: list[Labelled] = []
    place = 0
    for words, labels in zip(row.words, row.word_labels, strict=True):
        for word, label in zip(words, labels, strict=True):
            start = row.response.find(word, place)
            if start < 0 or row.response[place:start].strip():
                near = row.response[place : place + 20]
                raise DataError(f"row {row.idx}: expected the word {word!r} next, found {near!r}")
            place = start + len(word)
            found.append(Labelled(start, place, label))
    return found


def project(words: Sequence[Labelled], offsets: Sequence[Span]) -> list[int]:
    """Return the label of each token: harmful if any word it touches is.

    Args:
        words: Labelled stretches, in order, none overlapping another.
        offsets: Where each token stands, in order. One of no width, or that touches no word
            (space, marks), is `IGNORED`. Tokens that share the bytes of one character have the
            same offsets, and so the same label.

    Raises:
        DataError: Words overlap.
    """
    for before, after in pairwise(words):
        if after.start < before.end:
            raise DataError(f"words overlap at {after.start}")
    labels: list[int] = []
    first = 0
    for start, end in offsets:
        while first < len(words) and words[first].end <= start:
            first += 1
        touched = []
        number = first
        while number < len(words) and words[number].start < end:
            touched.append(words[number].label)
            number += 1
        if not touched or start == end:
            labels.append(IGNORED)
        else:
            labels.append(HARMFUL if HARMFUL in touched else BENIGN)
    return labels

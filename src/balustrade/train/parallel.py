"""Sentences and words that mean the same in two languages, and which pieces of them agree.

Pairs come from files of `../shared/data/parallel` (English, translation, source) and from our own
phrases (`languages/`). The agreement of pieces is IBM Model 1 (Brown et al. 1993, section 4.3):
p(f|e) by expectation maximisation over all pairs of a language at once, in sparse arrays.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SOURCES = frozenset(
    {
        "aosp", "bluesky", "chatwoot", "element", "ms-docs", "tanaka", "tatoeba-cmn",
        "tatoeba-laser", "tldr",
    }
)  # fmt: skip
"""Sources whose licences permit what we do; a row of any other is left out."""


class Pair(NamedTuple):
    """The same in English and in another language."""

    english: str
    other: str
    lang: str


def read(folder: Path, *, words: bool = True) -> list[Pair]:
    """Return all pairs of a folder, file by file; entries of its word lists too."""
    folders = [folder, folder / "lexicon"] if words else [folder]
    return [
        pair
        for each in folders
        for file in sorted(each.glob("en-*.tsv.gz"))
        for pair in _file(file)
    ]


def _file(path: Path) -> list[Pair]:
    lang = path.name.removeprefix("en-").partition(".")[0]
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [Pair(row[0], row[1], lang) for row in rows if len(row) == 3 and row[2] in SOURCES]


class Agreement(NamedTuple):
    """For pairs of pieces that stand together: which, and how often one is the other's cause."""

    other: NDArray[np.int64]
    english: NDArray[np.int64]
    expected: NDArray[np.float64]


def agree(
    english: Sequence[Sequence[int]], other: Sequence[Sequence[int]], rounds: int = 5
) -> Agreement:
    """Return expected counts of (other, english) after `rounds` of Model 1.

    Args:
        english: Pieces of each English side.
        other: Pieces of each other side, pair by pair.
        rounds: Of expectation maximisation, at least one.
    """
    left = [np.asarray(e, np.int64) for e in english]
    right = [np.asarray(o, np.int64) for o in other]
    e_all = np.concatenate([np.tile(e, len(o)) for e, o in zip(left, right, strict=True)])
    o_all = np.concatenate([np.repeat(o, len(e)) for e, o in zip(left, right, strict=True)])
    # Where one piece of the other side begins: its English candidates are shared among themselves.
    sizes = np.concatenate([np.full(len(o), len(e)) for e, o in zip(left, right, strict=True)])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    width = int(e_all.max()) + 1
    keys, cell = np.unique(o_all * width + e_all, return_inverse=True)
    others, englishes = keys // width, keys % width
    chance: NDArray[np.float64] = np.ones(len(keys))
    expected = chance
    for _ in range(rounds):
        share = chance[cell]
        share /= np.repeat(np.add.reduceat(share, starts), sizes)
        expected = np.asarray(np.bincount(cell, share, len(keys)), np.float64)
        total = np.bincount(englishes, expected, width)
        chance = expected / total[englishes]
    return Agreement(others, englishes, expected)

"""Sentences and words that mean the same in two languages.

Pairs come from files of `../shared/data/parallel` (English, translation, source) and from our own
phrases (`languages/`).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

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

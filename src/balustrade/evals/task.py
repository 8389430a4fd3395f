"""A task: the rows of one set, and what each of them asks of a guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random

from msgspec import Struct

from balustrade.core.errors import DataError
from balustrade.data.example import Example
from balustrade.data.jsonl import files, read
from balustrade.evals.question import Question, asked, is_withheld, questions_of

TWINS = tuple(
    Path(__file__).parent / "twins" / f"twins_{name}.jsonl" for name in ("requests", "attacks")
)
"""Sets of our own that measure any guard with nothing to download: requests and posts, attacks on
models, and harmless texts that share many of their words. Nothing of ours learns from them. Written
for this, mild, without any method; no native speaker has reviewed them. Apache-2.0."""


class Task(Struct, frozen=True, dict=True):
    """A named set of rows."""

    name: str
    examples: tuple[Example, ...]

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What the set asks."""
        return asked(self.examples)

    def asks(self, row: Example) -> tuple[Question, ...]:
        """Return what one of its rows asks."""
        return questions_of(row, self.questions)

    def is_withheld(self, row: Example) -> bool:
        """Whether one of its rows lacks the answer it is about."""
        return is_withheld(row, self.questions)


def stem(path: Path) -> str:
    """Return a file's name without `.jsonl` and `.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def tasks(paths: Sequence[Path], *, limit: int = 0, seed: int = 0) -> list[Task]:
    """Read files, and folders of them, into one task each, in the order given.

    Args:
        paths: Files in the shared row format, plain or gzip, or folders that hold them.
        limit: At most so many rows of each file, drawn without replacement; 0 for all.
        seed: Which rows are drawn; they keep their order.

    Raises:
        DataError: A file cannot be read, a row is not in the format, or two files share a name.
    """
    found = [file for path in paths for file in files(path)]
    if not found:
        raise DataError("expected at least one data file")
    twice = [name for name, count in Counter(map(stem, found)).items() if count > 1]
    if twice:
        raise DataError(f"two files are named {twice[0]!r}; a set is known by its file's name")
    return [Task(stem(file), _drawn(tuple(read(file)), limit, seed)) for file in found]


def _drawn(rows: tuple[Example, ...], limit: int, seed: int) -> tuple[Example, ...]:
    if not limit or len(rows) <= limit:
        return rows
    kept = sorted(Random(seed).sample(range(len(rows)), limit))  # noqa: S311 - not for secrets
    return tuple(rows[number] for number in kept)

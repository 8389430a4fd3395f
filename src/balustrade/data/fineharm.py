"""Answers whose words are labelled one by one, in the columns of FineHarm (arXiv 2506.09996)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from balustrade.core.errors import DataError
from balustrade.data import jsonl


class FineHarm(Struct, frozen=True):
    """One request and its answer: sentences, their words, and which of both are harmful."""

    idx: int | str
    prompt: str
    response: str
    source: str
    sentences: tuple[str, ...]
    sentence_labels: tuple[int, ...]
    words: tuple[tuple[str, ...], ...]
    """Of each sentence."""
    word_labels: tuple[tuple[int, ...], ...]
    sentence_num: int = -1
    """How many sentences there are; a published column, written though it says nothing new."""

    def __post_init__(self) -> None:
        count = len(self.sentences)
        if not count == len(self.sentence_labels) == len(self.words) == len(self.word_labels):
            raise ValueError(
                f"row {self.idx}: expected as many sentences as labels, words and word labels, "
                f"found {count}, {len(self.sentence_labels)}, {len(self.words)} and "
                f"{len(self.word_labels)}"
            )
        if self.sentence_num not in {-1, count}:
            raise ValueError(f"row {self.idx}: says {self.sentence_num} sentences, has {count}")
        for number, (words, labels) in enumerate(zip(self.words, self.word_labels, strict=True)):
            if len(words) != len(labels):
                raise ValueError(
                    f"row {self.idx}, sentence {number}: {len(words)} words, {len(labels)} labels"
                )
        said = {*self.sentence_labels, *(label for each in self.word_labels for label in each)}
        if said - {0, 1}:
            raise ValueError(f"row {self.idx}: expected labels 0 and 1, found {max(said - {0, 1})}")

    @property
    def is_harmful(self) -> bool:
        """Whether any sentence is."""
        return any(self.sentence_labels)


_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(FineHarm).decode


def read(path: Path) -> Iterator[FineHarm]:
    """Yield the rows of a file of JSON Lines, plain or compressed.

    Raises:
        DataError: The file cannot be read, or a line is not a row; names file and line.
    """
    for number, line in jsonl.lines(path):
        try:
            yield _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}:{number}: {error}") from error


def write(path: Path, rows: Iterable[FineHarm]) -> int:
    """Write rows and return how many; equal rows give equal bytes."""
    named = (msgspec.structs.replace(row, sentence_num=len(row.sentences)) for row in rows)
    return jsonl.write_lines(path, map(_encoder.encode, named))

"""Read and write labelled rows as JSON Lines, streamed, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from balustrade.core.errors import DataError
from balustrade.data.example import Example

_decode = msgspec.json.Decoder(Example).decode
_encoder = msgspec.json.Encoder()


def read(path: Path) -> Iterator[Example]:
    """Yield the rows of a file, one at a time; blank lines are passed over.

    Raises:
        DataError: The file cannot be read, or a line is not a row; names file and line.
    """
    for number, line in lines(path):
        try:
            row = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}:{number}: {error}") from error
        yield row


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that hold anything, each with its number.

    Raises:
        DataError: The file cannot be read.
    """
    number = 0
    try:
        with _open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number}: {error}") from error


def write(path: Path, examples: Iterable[Example]) -> int:
    """Write rows to a file and return how many; equal rows give equal bytes."""
    return write_lines(path, map(_encoder.encode, examples))


def write_lines(path: Path, rows: Iterable[bytes]) -> int:
    """Write lines to a file and return how many."""
    count = 0
    with _open(path, "wb") as file:
        for row in rows:
            file.write(row + b"\n")
            count += 1
    return count


def files(path: Path) -> list[Path]:
    """Return the data files a path stands for: itself, or all in it, sorted by name.

    Raises:
        DataError: There is no such path, or no data in it.
    """
    if path.is_file():
        return [path]
    found = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")], key=lambda file: file.name)
    if not found:
        raise DataError(f"{path}: expected a .jsonl or .jsonl.gz file, or a folder of them")
    return found


@contextmanager
def _open(path: Path, mode: str) -> Generator[IO[bytes]]:
    """Open a file, through gzip if its name says so, without a time stamp in the header."""
    with path.open(mode) as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=raw, mode=mode, mtime=0) as packed:
                yield packed  # type: ignore[misc]  # GzipFile is an IO[bytes] in all but name
        else:
            yield raw

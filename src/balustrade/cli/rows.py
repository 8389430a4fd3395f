"""Rows of text files to scan, streamed: JSONL and CSV (gzipped or not), Parquet, plain text."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from balustrade.core.errors import ContentError, DataError
from balustrade.core.registry import require

CELL = 10_000_000
"""Characters a CSV cell may have, and bytes a JSON line or a plain text file may have."""
TABLES = (".jsonl", ".csv", ".parquet")
PLAIN = (".txt", ".md", ".text")


class Columns(Struct, frozen=True):
    """Which fields of a row are read."""

    text: str = "text"
    request: str = ""
    """What the text answers; none if empty."""
    id: str = "id"


class Row(Struct, frozen=True):
    """One text to judge, and where it stands."""

    source: str
    number: int
    """Line of a JSONL file, record of a CSV or Parquet file, from 1."""
    read: int
    """Bytes of the file read so far."""
    id: str = ""
    text: str = ""
    request: str = ""
    error: str = ""
    """Why it cannot be judged."""

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.source}:{self.number}"


def files(paths: list[str]) -> list[Path]:
    """Return the files that paths stand for; folders are searched, in order of names.

    Raises:
        DataError: A path does not exist, or a folder holds nothing that can be read.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and _known(file))
            if not inside:
                raise DataError(f"{path}: holds no file that ends in {', '.join(TABLES + PLAIN)}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return found


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    """Yield the rows of one file; a row that cannot be read carries its error.

    Raises:
        DataError: The file itself cannot be read.
        MissingExtraError: It is a Parquet file, and pyarrow is not installed.
    """
    kind = _kind(path)
    try:
        if kind == ".parquet":
            yield from _parquet(path, columns)
        elif kind in {".jsonl", ".csv"}:
            with path.open("rb") as raw:
                stream = gzip.open(raw) if path.suffix == ".gz" else raw  # noqa: SIM115
                read = _jsonl if kind == ".jsonl" else _csv
                yield from read(str(path), raw, stream, columns)  # type: ignore[arg-type]
        else:
            yield _plain(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _known(path: Path) -> bool:
    return _kind(path) in {*TABLES, *PLAIN}


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


def _jsonl(name: str, raw: IO[bytes], stream: IO[bytes], columns: Columns) -> Iterator[Row]:
    number = 0
    while line := stream.readline(CELL):
        number += 1
        if len(line) == CELL and not line.endswith(b"\n"):
            while len(rest := stream.readline(CELL)) == CELL and not rest.endswith(b"\n"):
                pass
            yield Row(name, number, raw.tell(), error=f"is longer than {CELL} bytes")
            continue
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            yield Row(name, number, raw.tell(), error=f"not a JSON object: {error}")
            continue
        yield _row(name, number, raw.tell(), fields, columns)


def _csv(name: str, raw: IO[bytes], stream: IO[bytes], columns: Columns) -> Iterator[Row]:
    csv.field_size_limit(CELL)
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.DictReader(text, strict=True)
    number = 0
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(name, number, raw.tell(), error=f"line {reader.line_num}: {error}")
            continue
        yield _row(name, number, raw.tell(), fields, columns)


def _parquet(path: Path, columns: Columns) -> Iterator[Row]:
    require(f"reading {path}", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    size = path.stat().st_size
    try:
        with parquet.ParquetFile(path) as file:
            total = file.metadata.num_rows or 1
            wanted = [name for name in file.schema_arrow.names if name in _names(columns)]
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for fields in batch.to_pylist():
                    number += 1
                    yield _row(str(path), number, size * number // total, fields, columns)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error


def _plain(path: Path) -> Row:
    size = path.stat().st_size
    if size > CELL:
        return Row(str(path), 1, size, error=f"has {size} bytes, expected at most {CELL}")
    try:
        return Row(str(path), 1, size, text=path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Row(str(path), 1, size, error=f"not UTF-8 at byte {error.start}")


def _names(columns: Columns) -> set[str]:
    return {columns.text, columns.request, columns.id} - {""}


def _row(name: str, number: int, read: int, fields: Mapping[str, Any], columns: Columns) -> Row:
    try:
        text = _string(fields, columns.text)
        request = _string(fields, columns.request) if columns.request else ""
    except ContentError as error:
        return Row(name, number, read, error=str(error))
    found = fields.get(columns.id)
    return Row(name, number, read, "" if found is None else str(found), text, request)


def _string(fields: Mapping[str, Any], column: str) -> str:
    if column not in fields:
        known = ", ".join(repr(key) for key in list(fields)[:8] if key)
        raise ContentError(f"has no column {column!r}; it has: {known or 'none'}")
    value = fields[column]
    if not isinstance(value, str):
        raise ContentError(f"expected a string in column {column!r}, found {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ContentError(f"not UTF-8 in column {column!r}") from error
    return value

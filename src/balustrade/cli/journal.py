"""The records of a scan: written as they come, resumed after a kill, put in place at the end.

While a scan runs its records stand in `OUT.partial`, one JSON object a line. A kill can tear the
last line only, and `resume` cuts that off. The finished file appears under its own name at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from balustrade.core.errors import DataError
from balustrade.core.registry import require

Mode: TypeAlias = Literal["new", "overwrite", "resume"]

BLOCK = 2048
"""Records that are written to a Parquet file together."""


class Found(Struct, frozen=True):
    """One finding, as it is recorded."""

    category: str
    score: float
    severity: str | None
    span: tuple[int, int] | None
    note: str


class Record(Struct, frozen=True):
    """What was decided about one row; an error if it could not be read."""

    source: str
    row: int
    id: str
    action: str
    """The action's word, or `error` for a row that could not be read and so was not judged."""
    flagged: bool
    rule: str
    findings: tuple[Found, ...]
    failed: tuple[str, ...]
    """Guards that could not judge."""
    policy: str
    error: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class Journal:
    """Records of one scan.

    Args:
        out: The file to make, `.jsonl` or `.parquet`.
        mode: `new` refuses to touch what is there, `overwrite` replaces it, `resume` goes on.

    Raises:
        DataError: The name ends otherwise, or something is there already.
        MissingExtraError: A Parquet file is wanted, and pyarrow is not installed.
    """

    def __init__(self, out: Path, mode: Mode = "new") -> None:
        if out.suffix not in {".jsonl", ".parquet"}:
            raise DataError(f"{out}: expected a name that ends in .jsonl or .parquet")
        if out.suffix == ".parquet":
            require(f"writing {out}", "pyarrow")
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        if mode == "new" and (out.exists() or self.partial.exists()):
            there = out if out.exists() else self.partial
            raise DataError(f"{there}: is there already; choose --resume or --overwrite")
        if mode == "resume":
            _mend(self.partial)
        else:
            self.partial.unlink(missing_ok=True)
        self._file = self.partial.open("ab")

    def kept(self) -> Iterator[Record]:
        """Yield the records that an earlier run has left."""
        with self.partial.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield _decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise DataError(f"{self.partial}:{number}: {error}") from error

    def write(self, records: Iterable[Record]) -> None:
        """Hand records to the operating system; after that a kill does not lose them."""
        self._file.write(b"".join(_encoder.encode(record) + b"\n" for record in records))
        self._file.flush()

    def finish(self) -> None:
        """Put the finished file in its place."""
        os.fsync(self._file.fileno())
        self._file.close()
        if self.out.suffix == ".jsonl":
            self.partial.replace(self.out)
            return
        made = self.out.with_name(self.out.name + ".making")
        _to_parquet(self.kept(), made)
        made.replace(self.out)
        self.partial.unlink()

    def close(self) -> None:
        """Let go of the file; what was written stays for `resume`."""
        self._file.close()


def _mend(path: Path) -> None:
    """Cut off a last line that was torn."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def _to_parquet(records: Iterable[Record], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    finding = pa.struct(
        [
            ("category", pa.string()),
            ("score", pa.float64()),
            ("severity", pa.string()),
            ("span", pa.list_(pa.int64())),
            ("note", pa.string()),
        ]
    )
    kinds: dict[str, Any] = {
        "row": pa.int64(),
        "flagged": pa.bool_(),
        "findings": pa.list_(finding),
        "failed": pa.list_(pa.string()),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in Record.__struct_fields__])
    with parquet.ParquetWriter(path, schema) as writer:
        for block in _blocks(records):
            rows = [msgspec.to_builtins(record) for record in block]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    block: list[Record] = []
    for record in records:
        block.append(record)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block

"""What every log and every store of values promises, whatever lies behind it.

The laws of a log, run on every implementation by tests/store/test_log_laws.py: what was
acknowledged is found after the process was killed; positions are dense and in order; nothing is
rewritten; the entries of one call are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct


class Entry(Struct, frozen=True):
    """One entry of a log: bytes that mean nothing to it, under an ID, at a time."""

    id: str
    at: int
    """Microseconds since 1970, UTC."""

    data: bytes
    position: int = 0
    """Its number in the log, counted from 1; 0 until it is stored."""


class AppendLog(Protocol):
    """Keeps entries in the order they came; has no way to change or remove one."""

    @property
    def error(self) -> str:
        """Why the last append was refused; empty while the log is healthy."""
        ...

    def append(self, entries: Sequence[Entry], /) -> range:
        """Store all entries or none, and return their positions once they are kept.

        Raises:
            StoreError: They are not acknowledged; the message says what to do.
        """
        ...

    async def append_async(self, entries: Sequence[Entry], /) -> range:
        """Do the same without holding up the event loop it is awaited on."""
        ...

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Return up to `limit` entries behind position `after`, oldest first."""
        ...

    def latest(self, limit: int = 100, before: int | None = None) -> list[Entry]:
        """Return up to `limit` entries, newest first, from those in front of `before`."""
        ...

    def find(self, identifier: str, /) -> Entry | None:
        """Return the first entry under an ID; a later one cannot take its place."""
        ...

    def __len__(self) -> int:
        """Return how many entries are kept, which is the last position."""
        ...

    def close(self) -> None:
        """Store what still waits, then refuse whatever comes."""
        ...


class KeyValue(Protocol):
    """Keeps bytes under keys; unlike a log, it forgets what was overwritten or removed."""

    def get(self, key: str, /) -> bytes | None:
        """Return the value, or None if there is none."""
        ...

    def put(self, key: str, value: bytes, /) -> None:
        """Set the value; it is kept once this returns."""
        ...

    def remove(self, key: str, /) -> bool:
        """Remove the value, and say whether there was one."""
        ...

    def items(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """Return keys that begin with `prefix`, in order, with their values."""
        ...

    def close(self) -> None:
        """Refuse whatever comes."""
        ...


def entries(log: AppendLog, after: int = 0, page: int = 1000) -> Iterator[Entry]:
    """Walk a log from a position on, a page at a time, up to what is newest when it gets there."""
    while rows := log.read(after, page):
        yield from rows
        after = rows[-1].position

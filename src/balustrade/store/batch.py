"""What waits for a commit, and how those who wait are told; once per group and loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

from balustrade.core.errors import StoreError
from balustrade.store.log import Entry

MAX_BYTES = 64 << 20
"""The largest entry; far below what SQLite takes, so that one entry cannot fail its group."""


class Batch:
    """The entries of one append, and what became of them."""

    __slots__ = (
        "_news",
        "count",
        "error",
        "future",
        "loop",
        "positions",
        "settled",
        "size",
        "values",
    )

    def __init__(
        self, entries: Sequence[Entry], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.values: list[object] = []
        self.size = 0
        for entry in entries:
            _require_storable(entry)
            self.values += (entry.id, entry.at, entry.data)
            self.size += len(entry.data)
        self.count = len(entries)
        self.loop = loop
        self.future: asyncio.Future[None] | None = loop.create_future() if loop else None
        self._news = threading.Lock()
        self._news.acquire()
        self.settled = False
        self.positions = range(0)
        self.error: StoreError | None = None

    def wait(self) -> None:
        """Block the calling thread until there is news: it is settled, or its turn to commit."""
        self._news.acquire()

    def wake(self) -> None:
        """Tell the thread that waits; news that was not heard yet is not told twice."""
        with suppress(RuntimeError):
            self._news.release()

    def outcome(self) -> range:
        """Return the positions, or raise why there are none."""
        if self.error is not None:
            # Waiters of one group share the reason, not the exception: each has its own trace.
            raise StoreError(*self.error.args) from self.error
        return self.positions


def settle(group: list[Batch], *, first: int = 0, error: StoreError | None = None) -> None:
    """Give each batch its positions, or the error, and wake each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Batch]] = {}
    for batch in group:
        batch.error = error
        if error is None:
            batch.positions = range(first, first + batch.count)
            first += batch.count
        batch.settled = True
        if batch.loop is None:
            batch.wake()
        else:
            loops.setdefault(batch.loop, []).append(batch)
    here = _running() if loops else None
    for loop, batches in loops.items():
        if loop is here:
            _wake(batches)
            continue
        # A loop that was closed in the meantime has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_wake, batches)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(batches: list[Batch]) -> None:
    for batch in batches:
        if batch.future is not None and not batch.future.done():
            batch.future.set_result(None)


def _require_storable(entry: Entry) -> None:
    """Refuse what would fail in the middle of a group and take its neighbours with it."""
    if not _fits(entry.data):
        raise StoreError(
            f"entry {entry.id!r}: expected at most {MAX_BYTES} bytes, "
            f"found {len(entry.data)} of type {type(entry.data).__name__!r}"
        )
    if not -(1 << 63) <= entry.at < 1 << 63:
        raise StoreError(f"entry {entry.id!r}: the time does not fit into 64 bits")
    try:
        entry.id.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"entry {entry.id!r}: the ID is not valid Unicode") from error


def _fits(data: object) -> bool:
    return isinstance(data, bytes) and len(data) <= MAX_BYTES

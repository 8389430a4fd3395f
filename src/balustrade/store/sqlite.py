"""The embedded log: one SQLite file in WAL mode, with group commit.

What survives what is SQLite's documented behaviour for WAL, and is chosen by `durability`:

- `process`: a commit is written to the operating system before it is acknowledged
  (`synchronous = NORMAL`). Whatever kills the process, nothing acknowledged is lost. After a loss
  of power the last seconds may be missing, but the file is whole: the write-ahead log is synced
  before each checkpoint. (`OFF` would be no faster here, and could leave a damaged file.)
- `power`: each group is synced to the disk before it is acknowledged (`synchronous = FULL`).

**Who commits.** Whatever was queued while the last commit ran is one transaction, made by whoever
comes first. For `process` a coroutine's group is committed on its own event loop, at the end of
the loop's turn: a write without a sync takes some 30 microseconds, while a thread that writes has
to win the interpreter's lock from a busy loop for every SQLite step, and a loop that never rests
may keep it for seconds. For `power` a sync would hold up the loop, so there a thread commits, with
one statement for each 64 entries; if it has not done so after 2 ms, the loop waits for the thread,
which gives it the interpreter's lock, or commits itself. Checkpoints, which sync at both levels,
have a thread of their own. docs/concepts/audit-log.md has the figures.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal

from balustrade.core.errors import StoreError
from balustrade.store.batch import Batch, settle
from balustrade.store.connect import (
    Connection,
    connect,
    establish,
    explain,
    is_busy,
)
from balustrade.store.log import Entry
from balustrade.store.reader import LogReader

Durability = Literal["process", "power"]

_SCHEMA = """
CREATE TABLE entries (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;;
CREATE INDEX entries_by_id ON entries (id);;
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
  BEGIN SELECT raise(ABORT, 'entries are never changed'); END;;
CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries
  BEGIN SELECT raise(ABORT, 'entries are never removed'); END;;
CREATE TRIGGER entries_get_their_position BEFORE INSERT ON entries WHEN new.position > 0
  BEGIN SELECT raise(ABORT, 'the log itself gives positions'); END;;
"""
_VERSION = 1

_ROWS = 64
"""Entries a statement: each further statement costs one more turn for the interpreter's lock."""

_PATIENCE = 0.002
"""Seconds after which a loop looks whether the thread has committed."""

_LOAN = 0.05
"""Seconds a loop waits at most for the thread, which may be waiting for another process."""

_CHECKPOINT = 4 << 20
"""Bytes appended after which the write-ahead log is copied into the file."""

_OVERGROWN = 16 << 20
"""Size of the write-ahead log at which a writer ends it, so that it starts anew; under a load
without gaps it would else never be copied to its end."""


class SqliteLog:
    """Keep entries in an SQLite file; safe to use from any thread and any event loop.

    Args:
        path: The file; made if it is not there.
        durability: What an acknowledged entry survives; see the module's text.
        max_queue: Entries that may wait for a commit; more are refused, not piled up.
        wait_seconds: How long an append waits while another process holds the file.

    Raises:
        StoreError: The file cannot be made, opened or written, or is not a log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "process",
        max_queue: int = 10_000,
        wait_seconds: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self.durability: Durability = durability
        self.error = ""
        self._max_queue = max_queue
        self._wait_seconds = wait_seconds
        self._gate = threading.Lock()  # guards the queue, never held while SQLite works
        self._writing = threading.Lock()  # held by whoever commits
        self._queue: list[Batch] = []
        self._queued = 0
        self._closed = False
        self._writer: Connection | None = None
        self._reader = LogReader(self.path, wait_seconds)
        self._identity = (0, 0)
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._checkpointer: threading.Thread | None = None
        self._grown = 0
        self._overgrown = False
        try:
            self._writer = self._open(create=True)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise explain(self.path, error) from error

    def append(self, entries: Sequence[Entry], /) -> range:
        """Store all entries or none; returns when they are kept."""
        if not entries:
            return range(0)
        batch = self._enqueue(entries, None)
        while not batch.settled:
            if self._writing.acquire(blocking=False):
                try:
                    self._commit_queue(patient=True)
                finally:
                    self._pass_on()
            else:
                batch.wait()
        return batch.outcome()

    async def append_async(self, entries: Sequence[Entry], /) -> range:
        """Store all entries or none; the loop runs on while they are being kept."""
        if not entries:
            return range(0)
        loop = asyncio.get_running_loop()
        batch = self._enqueue(entries, loop)
        if self.durability == "power":
            self._ring()
            loop.call_later(_PATIENCE, self._lend, batch)
        else:
            loop.call_soon(self._commit_on_loop)
        assert batch.future is not None
        await batch.future
        return batch.outcome()

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Return up to `limit` entries behind position `after`, oldest first."""
        return self._reader.read(after, limit)

    def latest(self, limit: int = 100, before: int | None = None) -> list[Entry]:
        """Return up to `limit` entries, newest first, from those in front of `before`."""
        return self._reader.latest(limit, before)

    def find(self, identifier: str, /) -> Entry | None:
        """Return the first entry under an ID."""
        return self._reader.find(identifier)

    def __len__(self) -> int:
        """Return the last position."""
        return self._reader.last()

    def verify(self) -> None:
        """Read the whole file and raise StoreError if a page is damaged or a position missing."""
        self._reader.verify()

    def close(self) -> None:
        """Commit what waits, write the file out, and refuse whatever comes."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        self._commit_waiting()
        self._bell.set()
        for thread in (self._thread, self._checkpointer):
            if thread is not None:
                thread.join()
        self._reader.close()
        with self._writing:
            self._drop_writer()

    def __enter__(self) -> SqliteLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _enqueue(self, entries: Sequence[Entry], loop: asyncio.AbstractEventLoop | None) -> Batch:
        batch = Batch(entries, loop)
        with self._gate:
            if self._closed:
                raise StoreError(f"store {str(self.path)!r}: it is closed")
            if self._queued + batch.count > self._max_queue:
                raise StoreError(
                    f"store {str(self.path)!r}: {self._queued} entries wait to be written and "
                    f"{batch.count} more would pass the limit of {self._max_queue}; "
                    "send less, or use a faster disk"
                )
            self._queue.append(batch)
            self._queued += batch.count
        return batch

    def _commit_on_loop(self) -> None:
        """Commit on the event loop if nothing can make it wait; else have the thread do it."""
        if not self._queue:
            return
        if not self._writing.acquire(blocking=False):
            self._ring()
            return
        try:
            if self._writer is None or not self._commit_queue(patient=False):
                self._ring()
        finally:
            self._pass_on()

    def _lend(self, batch: Batch) -> None:
        """Let the thread have the interpreter's lock until it has committed, or do its work."""
        if batch.settled or not self._writing.acquire(timeout=_LOAN):
            return
        try:
            if not batch.settled and self._writer is not None:
                self._commit_queue(patient=False)
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Let go of the right to write, and wake a thread whose entries came too late for us."""
        self._writing.release()
        with self._gate:
            heir = next((batch for batch in self._queue if batch.loop is None), None)
        if heir is not None:
            heir.wake()

    def _ring(self) -> None:
        """Let the thread commit, starting it if need be."""
        if self._thread is None:
            with self._gate:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(
                        target=self._serve, name="balustrade-log", daemon=True
                    )
                    self._thread.start()
        self._bell.set()

    def _serve(self) -> None:
        while not self._closed:
            self._bell.wait()
            self._bell.clear()
            self._commit_waiting()

    def _commit_waiting(self) -> None:
        self._writing.acquire()
        try:
            self._commit_queue(patient=True)
        finally:
            self._pass_on()

    def _commit_queue(self, *, patient: bool) -> bool:
        """Commit what waits as one group; False if it has to wait for another process."""
        with self._gate:
            group, self._queue = self._queue, []
            self._queued = 0
        if not group:
            return True
        try:
            first = self._write(group, time.monotonic() + self._wait_seconds * patient)
        except Exception as error:  # noqa: BLE001  whoever waits must hear of any failure
            if not patient and is_busy(error):
                self._put_back(group)
                return False
            failure = explain(self.path, error)
            self.error = str(failure)
            self._drop_writer()
            settle(group, error=failure)
        except BaseException as error:
            settle(group, error=StoreError(f"store {str(self.path)!r}: {error!r}"))
            raise
        else:
            self.error = ""
            settle(group, first=first)
            self._note_growth(group)
        return True

    def _put_back(self, group: list[Batch]) -> None:
        with self._gate:
            self._queue[:0] = group
            self._queued += sum(batch.count for batch in group)

    def _write(self, group: list[Batch], deadline: float) -> int:
        """Write a group, trying again while another process holds the file; its first position."""
        values = [value for batch in group for value in batch.values]
        while True:
            try:
                writer = self._writer
                if writer is None:
                    writer = self._writer = self._open(create=False)
                last = _insert(writer, values)
                self._require_same_file()
                return last - len(values) // 3 + 1
            except sqlite3.Error as error:
                if self._writer is not None and self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.002)

    def _open(self, *, create: bool) -> Connection:
        sync = "FULL" if self.durability == "power" else "NORMAL"
        writer = connect(self.path, create=create, wait_seconds=self._wait_seconds, sync=sync)
        try:
            establish(writer, _SCHEMA, _VERSION)
            writer.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            writer.close()
            raise
        status = os.stat(self.path)
        self._identity = (status.st_dev, status.st_ino)
        return writer

    def _require_same_file(self) -> None:
        # SQLite goes on writing into a file that was unlinked; such a commit would be lost.
        status = os.stat(self.path)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError("the file was replaced while it was open; restart to use the new one")

    def _note_growth(self, group: list[Batch]) -> None:
        if self._overgrown and self._writer is not None:
            # Little is left to copy: the thread has just done the most of it.
            self._overgrown = False
            with suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._grown += sum(batch.size for batch in group) + 8192
        if self._grown < _CHECKPOINT or self._closed:
            return
        if self._checkpointer is None or not self._checkpointer.is_alive():
            self._grown = 0
            self._checkpointer = threading.Thread(
                target=self._checkpoint, name="balustrade-checkpoint", daemon=True
            )
            self._checkpointer.start()

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the file, beside the writers as far as possible."""
        # A failure here loses nothing: the entries stay in the write-ahead log until the next.
        with suppress(sqlite3.Error, OSError):
            opened = connect(self.path, create=False, wait_seconds=self._wait_seconds)
            with closing(opened) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._overgrown = os.stat(f"{self.path}-wal").st_size > _OVERGROWN

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with suppress(sqlite3.Error):
                self._writer.close()
        self._writer = None


def _insert(writer: Connection, values: list[object]) -> int:
    """Insert rows of three values in one transaction, and return the last position."""
    step = _ROWS * 3
    if len(values) <= step:
        return writer.execute(_statement(len(values) // 3), values).lastrowid or 0
    writer.execute("BEGIN IMMEDIATE")
    last = 0
    for start in range(0, len(values), step):
        rows = values[start : start + step]
        last = writer.execute(_statement(len(rows) // 3), rows).lastrowid or 0
    writer.execute("COMMIT")
    return last


@cache
def _statement(rows: int) -> str:
    return f"INSERT INTO entries (id, at, data) VALUES {', '.join(['(?, ?, ?)'] * rows)}"  # noqa: S608

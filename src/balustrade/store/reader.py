"""Read a log's SQLite file beside whoever writes it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from balustrade.core.errors import StoreError
from balustrade.store.connect import Connection, connect_reader, explain
from balustrade.store.log import Entry

_COLUMNS = "SELECT id, at, data, position FROM entries"


class LogReader:
    """Read entries over a connection of its own, which never holds up the writer.

    Each call is a transaction by itself, so no reader keeps the write-ahead log from being ended.
    """

    def __init__(self, path: Path, wait_seconds: float) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._connection: Connection | None = None

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return entries behind a position, oldest first."""
        return self._select("WHERE position > ? ORDER BY position LIMIT ?", (after, limit))

    def latest(self, limit: int, before: int | None) -> list[Entry]:
        """Return entries in front of a position, or of the end, newest first."""
        end = (1 << 63) - 1 if before is None else before
        return self._select("WHERE position < ? ORDER BY position DESC LIMIT ?", (end, limit))

    def find(self, identifier: str) -> Entry | None:
        """Return the first entry under an ID."""
        if not _is_unicode(identifier):
            return None
        found = self._select("WHERE id = ? ORDER BY position LIMIT 1", (identifier,))
        return found[0] if found else None

    def last(self) -> int:
        """Return the last position; positions are dense, so nothing is counted."""
        [(last,)] = self._query("SELECT coalesce(max(position), 0) FROM entries", ())
        return int(last)

    def verify(self) -> None:
        """Read the whole file and raise StoreError if a page is damaged or a position missing."""
        try:
            # A connection of its own: this takes long, and other readers must not wait for it.
            with closing(connect_reader(self._path, self._wait_seconds)) as reader:
                [damage] = reader.execute("PRAGMA integrity_check(1)").fetchone()
                found = reader.execute("SELECT count(*), max(position) FROM entries").fetchone()
        except sqlite3.Error as error:
            raise explain(self._path, error) from error
        if damage != "ok":
            raise StoreError(f"store {str(self._path)!r}: it is damaged: {damage}")
        count, last = found
        if count != (last or 0):
            raise StoreError(
                f"store {str(self._path)!r}: {count} entries, but the last position is {last}"
            )

    def close(self) -> None:
        """Refuse whatever comes."""
        with self._lock:
            self._closed = True
            self._drop()

    def _select(self, where: str, values: tuple[object, ...]) -> list[Entry]:
        return [Entry(*row) for row in self._query(f"{_COLUMNS} {where}", values)]

    def _query(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._closed:
                raise StoreError(f"store {str(self._path)!r}: it is closed")
            try:
                if self._connection is None:
                    self._connection = connect_reader(self._path, self._wait_seconds)
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                self._drop()
                raise explain(self._path, error) from error

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Keyed values in an SQLite file: small things that change, such as keys and their limits."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from balustrade.core.errors import StoreError
from balustrade.store.connect import Connection, connect, establish, explain

_SCHEMA = "CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;;"
_VERSION = 101
"""Differs from a log's, so that neither is taken for the other."""


class SqliteKeyValue:
    """Keep bytes under keys, one transaction for each change; safe to use from any thread.

    Each change is synced to the disk before it returns, so this is not for what changes at every
    request; a log is.

    Args:
        path: The file; made if it is not there.
        wait_seconds: How long to wait while another process holds the file.

    Raises:
        StoreError: The file cannot be made, opened or written, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, wait_seconds: float = 5.0) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        try:
            self._connection = connect(
                self.path, create=True, wait_seconds=wait_seconds, sync="FULL"
            )
            establish(self._connection, _SCHEMA, _VERSION)
            self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise explain(self.path, error) from error

    def get(self, key: str, /) -> bytes | None:
        """Return the value, or None if there is none."""
        rows = self._run("SELECT value FROM pairs WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def put(self, key: str, value: bytes, /) -> None:
        """Set the value; it is kept once this returns."""
        self._run("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def remove(self, key: str, /) -> bool:
        """Remove the value, and say whether there was one."""
        return bool(self._run("DELETE FROM pairs WHERE key = ? RETURNING 1", (key,)))

    def items(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """Return keys that begin with `prefix`, in the order of their code points."""
        # As bytes, for in a text SQLite's functions stop at U+0000; of no bytes they give NULL.
        start = prefix.encode()
        rows = self._run(
            "SELECT key, value FROM pairs WHERE key >= ?1 "
            "AND (?2 = 0 OR substr(CAST(key AS BLOB), 1, ?2) = ?3) ORDER BY key",
            (prefix, len(start), start),
        )
        return [(key, value) for key, value in rows]

    def close(self) -> None:
        """Refuse whatever comes."""
        with self._lock:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def _run(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._connection is None:
                raise StoreError(f"store {str(self.path)!r}: it is closed")
            try:
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, UnicodeEncodeError) as error:
                raise explain(self.path, error) from error

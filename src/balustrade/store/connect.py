"""Open SQLite files that are ours, and say in plain words why one cannot be used."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from balustrade.core.errors import StoreError

MINE = 0x42414C55
"""The application ID in the header of our files: 'BALU'."""

_ADVICE = {
    "FULL": "the disk is full; free some space, then appending resumes by itself",
    "IOERR": "the operating system refused to read or write; check the disk, quotas and file "
    "size limits, then appending resumes by itself",
    "READONLY": "it is read-only; make the file and its directory writable for this user",
    "PERM": "access was denied; make the file and its directory writable for this user",
    "CANTOPEN": "it cannot be opened; the directory must exist and be writable for this user, "
    "for the write-ahead log lies beside the file",
    "BUSY": "another process holds its lock; let that process finish, or end it",
    "LOCKED": "another connection holds its lock; let it finish, or end it",
    "CORRUPT": "it is damaged; keep it for inquiry, then restore a copy or name another file",
    "NOTADB": "it is not a database, or its header is damaged; restore a copy or name another file",
}


def connect(path: Path, *, create: bool, wait_seconds: float, sync: str = "NORMAL") -> Connection:
    """Open a file for writing, in WAL mode, creating it only if asked to.

    Args:
        path: The file.
        create: Whether it may be made if it is not there.
        wait_seconds: How long to wait for another process's lock.
        sync: SQLite's `synchronous`: NORMAL syncs at checkpoints, FULL at each commit as well.
    """
    mode = "rwc" if create else "rw"
    connection = _open(path, mode, wait_seconds)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {sync}")
        # A checkpoint syncs the disk, so whoever commits must not be the one to pay for it.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, wait_seconds: float) -> Connection:
    """Open a file for reading alone; a reader never holds up the writer."""
    return _open(path, "ro", wait_seconds)


def establish(connection: Connection, schema: str, version: int) -> None:
    """Create the tables in an empty file; refuse a file that is another program's or newer.

    Raises:
        ValueError: The file is not of this kind.
    """
    if _is_ours(connection, version):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made them between the look and the lock.
        if not _is_ours(connection, version):
            for statement in filter(None, map(str.strip, schema.split(";;"))):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {MINE}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def explain(path: Path, error: Exception) -> StoreError:
    """Return the error to raise for one that SQLite or the system gave."""
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
    advice = _ADVICE.get(name.partition("_")[0], str(error))
    detail = f" ({name})" if name else ""
    return StoreError(f"store {str(path)!r}: {advice}{detail}")


def is_busy(error: Exception) -> bool:
    """Whether waiting for another process may help."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


Connection = sqlite3.Connection


def _open(path: Path, mode: str, wait_seconds: float) -> Connection:
    uri = f"{Path(os.path.abspath(path)).as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=wait_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _is_ours(connection: Connection, version: int) -> bool:
    """Whether the tables are there; False for an empty file."""
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [found] = connection.execute("PRAGMA user_version").fetchone()
    if application == MINE and found == version:
        return True
    [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application or found or tables:
        raise ValueError(
            f"it belongs to another program or version (application {application:#x}, version "
            f"{found}; expected {MINE:#x}, {version}); name another file"
        )
    return False

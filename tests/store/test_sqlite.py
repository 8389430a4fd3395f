from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from balustrade.core.errors import StoreError
from balustrade.store.log import Entry
from balustrade.store.sqlite import SqliteLog


def entry(name: str, size: int = 0) -> Entry:
    return Entry(name, 0, b"x" * size)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log.db") as log:
        yield log


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE entries SET data = x'00'", "never changed"),
        ("DELETE FROM entries", "never removed"),
        ("INSERT OR REPLACE INTO entries VALUES (1, 'a', 0, x'')", "gives positions"),
        ("INSERT INTO entries VALUES (9, 'a', 0, x'')", "gives positions"),
    ],
)
def test_not_even_sql_rewrites_an_entry(log: SqliteLog, statement: str, why: str) -> None:
    log.append([entry("a"), entry("b")])
    with closing(sqlite3.connect(log.path)) as other:
        with pytest.raises(sqlite3.IntegrityError, match=why):
            other.execute(statement)
        other.rollback()
    assert [kept.id for kept in log.read()] == ["a", "b"]


def test_entries_queued_in_one_turn_of_a_loop_are_one_transaction(log: SqliteLog) -> None:
    def transactions() -> int:
        [(version,)] = reader.execute("PRAGMA data_version").fetchall()
        return int(version)

    async def write(count: int) -> None:
        await asyncio.gather(*(log.append_async([entry("a")]) for _ in range(count)))

    frames: list[int] = []
    with closing(sqlite3.connect(log.path)) as reader:
        for count in (1, 50):
            before = transactions()
            asyncio.run(write(count))
            frames.append(transactions() - before)
    assert frames == [1, 1]
    assert len(log) == 51


def test_a_group_longer_than_one_statement_is_still_atomic(log: SqliteLog) -> None:
    assert log.append([entry(str(n)) for n in range(1000)]) == range(1, 1001)
    assert [kept.id for kept in log.read()] == [str(n) for n in range(1000)]
    log.verify()


def test_a_queue_that_is_full_refuses(tmp_path: Path) -> None:
    async def flood(log: SqliteLog) -> list[object]:
        writes = (log.append_async([entry(str(n))]) for n in range(12))
        return [*await asyncio.gather(*writes, return_exceptions=True)]

    with SqliteLog(tmp_path / "log.db", max_queue=10) as log:
        results = asyncio.run(flood(log))
        refused = [result for result in results if isinstance(result, StoreError)]
        assert len(refused) == 2
        assert "10 entries wait" in str(refused[0])
        assert len(log) == 10
        assert log.append([entry("later")]) == range(11, 12)


def test_reading_goes_on_while_another_process_holds_the_file(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "log.db", wait_seconds=0.05) as log:
        log.append([entry("a")])
        with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert log.find("a") is not None
            with pytest.raises(StoreError, match="another process holds its lock"):
                log.append([entry("b")])
            with pytest.raises(StoreError, match="another process holds its lock"):
                asyncio.run(log.append_async([entry("b")]))
            assert "another process" in log.error
            other.execute("ROLLBACK")
        log.append([entry("c")])
        assert not log.error
        assert [kept.id for kept in log.read()] == ["a", "c"]


def test_an_append_waits_for_a_lock_that_is_let_go(tmp_path: Path) -> None:
    with (
        SqliteLog(tmp_path / "log.db", wait_seconds=30) as log,
        closing(sqlite3.connect(log.path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")

        async def let_go_then_wait() -> range:
            waiting = asyncio.ensure_future(log.append_async([entry("a")]))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            other.execute("ROLLBACK")
            return await waiting

        assert asyncio.run(let_go_then_wait()) == range(1, 2)


def test_two_logs_on_one_file_share_one_dense_order(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "log.db") as one, SqliteLog(tmp_path / "log.db") as two:

        def write(log: SqliteLog) -> None:
            for _ in range(50):
                log.append([entry("a"), entry("b")])

        threads = [threading.Thread(target=write, args=(log,)) for log in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.verify()
        assert [kept.id for kept in one.read()] == ["a", "b"] * 100


def test_a_file_that_was_removed_while_open_is_not_written_into_the_void(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "log.db") as log:
        log.append([entry("a")])
        for path in tmp_path.iterdir():
            path.rename(path.with_name(f"moved-{path.name}"))
        for _ in range(2):
            with pytest.raises(StoreError, match=r"log\.db"):
                log.append([entry("lost")])
        assert log.error
        assert not (tmp_path / "log.db").exists()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="belongs to another program"):
        SqliteLog(tmp_path / "other.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to be taken for one" * 99)
    with pytest.raises(StoreError, match="not a database"):
        SqliteLog(tmp_path / "log.db")


def test_a_damaged_page_is_named_and_nothing_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with SqliteLog(path) as log:
        log.append([entry(str(n), 3000) for n in range(50)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    with SqliteLog(path) as log:
        with pytest.raises(StoreError, match="damaged"):
            log.verify()
        with pytest.raises(StoreError, match="damaged"):
            log.append([entry("new")])
        assert "damaged" in log.error


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="directory must exist"):
        SqliteLog(tmp_path / "absent" / "log.db")


FULL = """
import resource, sys
from balustrade.core.errors import StoreError
from balustrade.store.log import Entry
from balustrade.store.sqlite import SqliteLog
import asyncio

log = SqliteLog(sys.argv[1], durability=sys.argv[2])
big = b"x" * 20_000
acknowledged = []

def fill(append):
    for number in range(200):
        try:
            append([Entry(str(number), 0, big)])
        except StoreError as error:
            return str(error)
        acknowledged.append(str(number))

soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
reasons = [fill(log.append), fill(lambda e: asyncio.run(log.append_async(e)))]
assert all(reasons), reasons
assert all("refused to read or write" in reason or "disk is full" in reason for reason in reasons)
assert log.error == reasons[-1]
assert len(acknowledged) > 5
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert asyncio.run(log.append_async([Entry("recovered", 0, big)]))
acknowledged.append("recovered")
assert not log.error
log.verify()
kept = [entry.id for entry in log.read()]
assert kept == acknowledged, (kept, acknowledged)
log.close()
"""


def run_apart(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_full_disk_refuses_until_there_is_room_again(durability: str, tmp_path: Path) -> None:
    run_apart(FULL, str(tmp_path / "log.db"), durability)


READ_ONLY = """
import os, sys
from balustrade.core.errors import StoreError
from balustrade.store.sqlite import SqliteLog

if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind root
try:
    SqliteLog(sys.argv[1])
except StoreError as error:
    assert "writable" in str(error), error
else:
    raise SystemExit("opened what cannot be written")
"""


@pytest.mark.parametrize("name", ["log.db", "absent.db"])
def test_a_read_only_log_is_refused_when_it_is_opened(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        SqliteLog(folder / "log.db").close()
        (folder / "log.db").chmod(0o444)
        folder.chmod(0o555)
        run_apart(READ_ONLY, str(folder / name))
        folder.chmod(0o755)


def test_the_write_ahead_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "log.db") as log:
        sizes = []
        for _ in range(150):
            log.append([entry("a", 500_000)])
            sizes.append(os.stat(f"{log.path}-wal").st_size)
        assert max(sizes) < 60_000_000
        assert len(log) == 150


def test_a_busy_loop_does_not_starve_the_thread_that_syncs(tmp_path: Path) -> None:
    async def busy(log: SqliteLog) -> int:
        waiting = asyncio.gather(*(log.append_async([entry(str(n))]) for n in range(4)))
        turns = 0
        while not waiting.done() and turns < 10_000:
            sum(range(5_000))
            turns += 1
            await asyncio.sleep(0)
        await waiting
        return turns

    with SqliteLog(tmp_path / "log.db", durability="power") as log:
        assert asyncio.run(busy(log)) < 10_000
        assert len(log) == 4

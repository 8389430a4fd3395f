"""The laws of a log, run on every implementation and both levels of durability."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balustrade.core.errors import StoreError
from balustrade.store.log import AppendLog, Entry, entries
from balustrade.store.sqlite import SqliteLog

Open = Callable[[Path], AppendLog]

LOGS: dict[str, Open] = {
    "sqlite-process": lambda folder: SqliteLog(folder / "log.db"),
    "sqlite-power": lambda folder: SqliteLog(folder / "log.db", durability="power"),
}

each_log = pytest.mark.parametrize("open_log", LOGS.values(), ids=LOGS.keys())
calm = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
some_entries = st.lists(
    st.builds(
        Entry,
        st.text(st.characters(codec="utf-8"), max_size=8),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.binary(max_size=40),
    ),
    max_size=6,
)


@pytest.fixture
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("log")


def stored(batches: list[list[Entry]]) -> list[Entry]:
    flat = [entry for batch in batches for entry in batch]
    return [Entry(e.id, e.at, e.data, n) for n, e in enumerate(flat, 1)]


@each_log
@calm
@given(batches=st.lists(some_entries, max_size=5))
def test_what_was_appended_is_read_in_order_with_dense_positions(
    open_log: Open, folders: Callable[[], Path], batches: list[list[Entry]]
) -> None:
    with closing(open_log(folders())) as log:
        positions = [n for batch in batches for n in log.append(batch)]
        kept = stored(batches)
        assert positions == [entry.position for entry in kept]
        assert log.read(limit=1000) == kept
        assert list(entries(log, page=2)) == kept
        assert log.latest(3) == kept[::-1][:3]
        assert len(log) == len(kept)


@each_log
@calm
@given(batches=st.lists(some_entries, max_size=5))
def test_a_log_that_was_closed_opens_as_it_was(
    open_log: Open, folders: Callable[[], Path], batches: list[list[Entry]]
) -> None:
    folder = folders()
    for batch in batches:
        with closing(open_log(folder)) as log:
            log.append(batch)
    with closing(open_log(folder)) as log:
        assert log.read() == stored(batches)


@each_log
@calm
@given(batch=some_entries, after=st.integers(0, 8), limit=st.integers(1, 4))
def test_pages_cut_the_order_and_change_nothing(
    open_log: Open, folders: Callable[[], Path], batch: list[Entry], after: int, limit: int
) -> None:
    with closing(open_log(folders())) as log:
        log.append(batch)
        kept = stored([batch])
        assert log.read(after, limit) == kept[after : after + limit]
        before = [entry for entry in kept if entry.position < after]
        assert log.latest(limit, before=after) == before[::-1][:limit]


@each_log
def test_the_first_entry_under_an_id_cannot_be_shadowed(open_log: Open, tmp_path: Path) -> None:
    with closing(open_log(tmp_path)) as log:
        log.append([Entry("a", 1, b"first"), Entry("b", 2, b"other"), Entry("a", 3, b"later")])
        assert log.find("a") == Entry("a", 1, b"first", 1)
        assert log.find("absent") is None
        assert log.find("\ud800") is None


@each_log
def test_coroutines_and_threads_share_one_order(open_log: Open, tmp_path: Path) -> None:
    with closing(open_log(tmp_path)) as log:

        async def write(name: str) -> dict[int, str]:
            ids = [f"{name}-{number}" for number in range(40)]
            got = await asyncio.gather(*(log.append_async([Entry(i, 0, b"")]) for i in ids))
            return {place[0]: i for place, i in zip(got, ids, strict=True)}

        acknowledged: list[dict[int, str]] = []

        def in_a_loop(name: str) -> None:
            acknowledged.append(asyncio.run(write(name)))

        def in_a_thread(name: str) -> None:
            ids = [f"{name}-{number}" for number in range(40)]
            acknowledged.append({log.append([Entry(i, 0, b"")])[0]: i for i in ids})

        workers = [
            threading.Thread(target=work, args=(f"{work.__name__}-{number}",))
            for work in (in_a_loop, in_a_thread)
            for number in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        known = {place: i for part in acknowledged for place, i in part.items()}
        assert known == {entry.position: entry.id for entry in log.read()}
        assert sorted(known) == list(range(1, 241))


@each_log
def test_r17_a_log_serves_one_event_loop_after_another(open_log: Open, tmp_path: Path) -> None:
    with closing(open_log(tmp_path)) as log:

        async def give_up() -> None:
            task = asyncio.ensure_future(log.append_async([Entry("abandoned", 0, b"")]))
            await asyncio.sleep(0)
            task.cancel()

        asyncio.run(give_up())
        assert [*asyncio.run(log.append_async([Entry("next", 0, b"")]))] == [len(log)]
        assert log.find("next") is not None


@each_log
def test_a_batch_is_stored_whole_or_not_at_all(open_log: Open, tmp_path: Path) -> None:
    bad = [Entry("fine", 0, b""), Entry("\ud800", 0, b"")]
    with closing(open_log(tmp_path)) as log:
        with pytest.raises(StoreError, match="not valid Unicode"):
            log.append(bad)
        assert len(log) == 0


@each_log
def test_one_bad_entry_does_not_spoil_its_group(open_log: Open, tmp_path: Path) -> None:
    with closing(open_log(tmp_path)) as log:

        async def both() -> list[object]:
            late = Entry("late", 1 << 63, b"")
            writes = [log.append_async([late]), log.append_async([Entry("fine", 0, b"")])]
            return [*await asyncio.gather(*writes, return_exceptions=True)]

        first, second = asyncio.run(both())
        assert isinstance(first, StoreError)
        assert second == range(1, 2)


@each_log
def test_a_closed_log_refuses_by_name(open_log: Open, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.close()
    log.close()
    for use in (lambda: log.append([Entry("a", 0, b"")]), log.read, lambda: len(log)):
        with pytest.raises(StoreError, match="is closed"):
            use()


WRITER = """
import asyncio, os, sys
from balustrade.store.log import Entry
from balustrade.store.sqlite import SqliteLog

log = SqliteLog(sys.argv[1], durability=sys.argv[2])

async def write(name):
    for number in range(1_000_000):
        identifier = f"{name}-{number}"
        [place] = await log.append_async([Entry(identifier, number, identifier.encode() * 9)])
        os.write(1, f"{place} {identifier}\\n".encode())

async def main():
    await asyncio.gather(*(write(name) for name in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_acknowledged_is_found_after_kill_9(durability: str, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), durability], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(400)]
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read()
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    # A line cut by the kill was not acknowledged in full.
    lines += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    acknowledged = dict(line.decode().split() for line in lines)

    with closing(SqliteLog(path)) as log:
        log.verify()
        found = {str(entry.position): entry.id for entry in entries(log)}
        assert len(acknowledged) >= 400
        assert acknowledged.items() <= found.items()
        assert log.append([Entry("after", 0, b"")]) == range(len(found) + 1, len(found) + 2)

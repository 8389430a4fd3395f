"""Appends a second and time to acknowledgement, at both levels of durability.

    pytest benchmarks/test_log.py -s

Three kinds of writers: threads, tasks on a loop with nothing else to do, and tasks that arrive at
random (50 a second each) on a loop that is busy all the time in slices of 1 ms, as a server is
that judges. Each prints its own table row; nothing is asserted about time.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from balustrade.store.log import Entry
from balustrade.store.sqlite import Durability, SqliteLog
from balustrade.verify.identity import new_id

DATA = b"x" * 700
APPENDS = 4000

each_level = pytest.mark.parametrize("durability", ["process", "power"])
each_crowd = pytest.mark.parametrize("writers", [1, 16, 32, 64])


class Timing(NamedTuple):
    seconds: float
    processor: float
    waits: list[float]


def new_entry() -> Entry:
    return Entry(new_id(), time.time_ns() // 1000, DATA)


def report(kind: str, durability: str, writers: int, timing: Timing) -> None:
    waits = sorted(timing.waits)
    count = len(waits)
    print(
        f"\n| {kind} | {durability} | {writers} | {count / timing.seconds:,.0f} "
        f"| {waits[count // 2] * 1e3:.2f} | {waits[int(count * 0.99)] * 1e3:.2f} "
        f"| {timing.processor / count * 1e6:.0f} |",
        end="",
    )


async def by_tasks(log: SqliteLog, writers: int, pause: float) -> list[float]:
    waits: list[float] = []
    chance = random.Random(0)

    async def write() -> None:
        for _ in range(APPENDS // writers):
            if pause:
                await asyncio.sleep(chance.random() * 2 * pause)
            start = time.perf_counter()
            await log.append_async([new_entry()])
            waits.append(time.perf_counter() - start)

    await asyncio.gather(*(write() for _ in range(writers)))
    return waits


async def while_busy(log: SqliteLog, writers: int) -> list[float]:
    writing = asyncio.ensure_future(by_tasks(log, writers, 0.02))
    while not writing.done():
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)
    return await writing


def by_threads(log: SqliteLog, writers: int) -> list[float]:
    waits: list[float] = []

    def write() -> None:
        for _ in range(APPENDS // writers):
            start = time.perf_counter()
            log.append([new_entry()])
            waits.append(time.perf_counter() - start)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def measure(path: Path, kind: str, durability: Durability, writers: int) -> Timing:
    with SqliteLog(path / "log.db", durability=durability) as log:
        start, used = time.perf_counter(), time.process_time()
        if kind == "threads":
            waits = by_threads(log, writers)
        elif kind == "tasks":
            waits = asyncio.run(by_tasks(log, writers, 0))
        else:
            waits = asyncio.run(while_busy(log, writers))
        timing = Timing(time.perf_counter() - start, time.process_time() - used, waits)
        assert len(log) == len(waits)
    return timing


@each_level
@each_crowd
@pytest.mark.parametrize("kind", ["threads", "tasks", "busy loop"])
def test_appends(kind: str, writers: int, durability: Durability, tmp_path: Path) -> None:
    if kind == "busy loop" and writers == 1:
        pytest.skip("one writer at 50 a second measures the pause, not the log")
    report(kind, durability, writers, measure(tmp_path, kind, durability, writers))

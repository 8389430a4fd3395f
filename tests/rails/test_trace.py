from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from balustrade.core.content import Content
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import StoreError
from balustrade.core.facts import Facts
from balustrade.core.verdict import Verdict
from balustrade.rails.trace import Event, LogSink, Sink, fan_out
from balustrade.store.log import Entry
from balustrade.store.sqlite import SqliteLog


def event(name: str) -> Event:
    content = Content.of("hi")
    return Event(Decision(Action.ALLOW, content, (Verdict("g"),)), content, Facts(name, at=7))


def written(event: Event) -> Entry:
    return Entry(event.facts.id, event.facts.at, event.content.text.encode())


class Listed:
    """A sink that keeps what it took, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.taken: list[str] = []
        self.closed = False
        self._error = error

    def take(self, events: Sequence[Event], /) -> None:
        self.taken += [event.facts.id for event in events]
        if self._error is not None:
            raise self._error

    async def take_async(self, events: Sequence[Event], /) -> None:
        self.take(events)

    def close(self) -> None:
        self.closed = True


def give(sink: Sink, events: Sequence[Event], how: str) -> None:
    if how == "sync":
        sink.take(events)
    else:
        asyncio.run(_give(sink, events))


async def _give(sink: Sink, events: Sequence[Event]) -> None:
    await sink.take_async(events)
    # What need not be kept is written a few turns of the loop later.
    for _ in range(5):
        await asyncio.sleep(0)


each_way = pytest.mark.parametrize("how", ["sync", "async"])


@each_way
@pytest.mark.parametrize("durable", [True, False])
def test_events_are_in_the_log_under_their_ids(how: str, durable: bool, tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "log.db") as log:
        give(LogSink(log, written, durable=durable), [event("a"), event("b")], how)
        assert log.read() == [Entry("a", 7, b"hi", 1), Entry("b", 7, b"hi", 2)]


@each_way
def test_a_durable_sink_refuses_what_the_log_does_not_take(how: str, tmp_path: Path) -> None:
    sink = LogSink(SqliteLog(tmp_path / "log.db"), written)
    sink.close()
    with pytest.raises(StoreError, match="is closed"):
        give(sink, [event("a")], how)
    assert sink.lost == 0


@each_way
def test_a_sink_that_is_not_durable_counts_what_was_lost(how: str, tmp_path: Path) -> None:
    sink = LogSink(SqliteLog(tmp_path / "log.db"), written, durable=False)
    sink.close()
    give(sink, [event("a"), event("b")], how)
    assert sink.lost == 2


def test_a_durable_sink_acknowledges_only_what_another_reader_finds(tmp_path: Path) -> None:
    async def judge(sink: LogSink, other: SqliteLog) -> None:
        await sink.take_async([event("a")])
        assert other.find("a") is not None

    with SqliteLog(tmp_path / "log.db") as log, SqliteLog(tmp_path / "log.db") as other:
        asyncio.run(judge(LogSink(log, written), other))


@each_way
def test_a_sink_that_fails_keeps_no_event_from_the_others(how: str) -> None:
    first, broken, last = Listed(), Listed(StoreError("disk full")), Listed()
    sinks = fan_out(first, broken, last)
    with pytest.raises(StoreError, match="disk full"):
        give(sinks, [event("a")], how)
    assert first.taken == last.taken == ["a"]
    sinks.close()
    assert first.closed
    assert last.closed


@each_way
def test_no_sinks_take_everything_and_do_nothing(how: str) -> None:
    give(fan_out(), [event("a")], how)


def test_one_sink_needs_no_fan_out() -> None:
    sink = Listed()
    assert fan_out(sink) is sink


def test_r4_a_full_disk_refuses_the_request_and_a_free_one_resumes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "log.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FULL = """
import asyncio, resource, sys
from balustrade.core.content import Content
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import StoreError
from balustrade.core.facts import Facts
from balustrade.rails.trace import Event, LogSink
from balustrade.store.log import Entry
from balustrade.store.sqlite import SqliteLog

sink = LogSink(SqliteLog(sys.argv[1]), lambda e: Entry(e.facts.id, 0, b"x" * 9000))
content = Content.of("hi")

def take(name):
    asyncio.run(sink.take_async([Event(Decision(Action.ALLOW, content), content, Facts(name))]))

soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
try:
    for number in range(100):
        take(str(number))
except StoreError:
    pass
else:
    raise SystemExit("everything was taken")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
take("after")
assert [e.id for e in sink.log.read()] == [*map(str, range(number)), "after"]
sink.close()
"""

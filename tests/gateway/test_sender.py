"""What is asked of models while streams come in: together, in time, on the loop where short."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Route
from balustrade.core.call import Advance, Advanced, Call, Failed, Heard, Onward, Reply
from balustrade.gateway.sender import SHORT, Sender
from balustrade.gateway.settings import AuditSpec, Settings
from balustrade.gateway.state import State


class Reader:
    """Reads each chunk as one word that scores its length, and notes how it was asked."""

    def __init__(self, wait: float = 0.0) -> None:
        self.rounds: list[tuple[Call, ...]] = []
        self._wait = wait

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        self.rounds.append(calls)
        return [self._read(call) for call in calls if isinstance(call, Advance)]

    async def asend(self, calls: tuple[Call, ...]) -> list[Reply]:
        await asyncio.sleep(self._wait)
        return self.send(calls)

    def _read(self, call: Advance) -> Onward:
        return Onward(tuple(Advanced(c, (Heard(0, len(c), len(c) / 100),)) for c in call.chunks))


class Noted(Recurrent):
    """The shipped monitor, which notes the threads it runs in."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def send(self, calls: tuple[Call, ...], /) -> list[Reply]:
        self.threads.append(threading.get_ident())
        return super().send(calls)


def test_the_next_words_of_many_streams_are_read_in_one_pass() -> None:
    reader = Reader()
    sender = Sender(Route({"monitor": lambda: reader}), 1.0)
    asked = [Advance("monitor", (f"request {n}",), ("x" * n,)) for n in range(20)]

    async def ask() -> list[Sequence[Reply]]:
        return await asyncio.gather(*(sender((call,)) for call in asked))

    replies = asyncio.run(ask())

    [[call]] = reader.rounds
    assert isinstance(call, Advance)
    assert len(call.states) == len(call.chunks) == 20
    for n, [reply] in enumerate(replies):
        assert reply == Onward((Advanced("x" * n, (Heard(0, n, n / 100),)),))


def test_a_few_words_are_read_on_the_loop_and_many_beside_it() -> None:
    monitor = Noted()
    sender = Sender(Route({"monitor": lambda: monitor}), 10.0)
    short = Advance("monitor", ("Tell me.",), ("a few words ",))
    long = Advance("monitor", ("Tell me.",), ("many words " * SHORT["monitor"],))

    async def ask() -> None:
        for call in (short, long):
            [reply] = await sender((call,))
            assert isinstance(reply, Onward)

    asyncio.run(ask())

    here = threading.get_ident()
    assert [thread == here for thread in monitor.threads] == [True, False]


def test_a_monitor_of_ones_own_is_given_its_time() -> None:
    sender = Sender(Route({"own": lambda: Reader(wait=5.0)}), 0.05)

    [reply] = asyncio.run(_one(sender, Advance("own", ("Tell me.",), ("a ",))))

    assert isinstance(reply, Failed)
    assert reply.error == "model 'own' did not answer within 0.05 s"


async def _one(sender: Sender, call: Call) -> Sequence[Reply]:
    return await sender((call,))


POLICY = """
name = "early"

[[stage.output.guards]]
use = "scm"
model = "absent"
hits = 2
words = 8
whole = false

[[stage.output.rules]]
name = "early-stop"
category = "response-harm"
"""


def test_a_stream_guard_that_cannot_judge_is_told_when_the_server_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "early.toml").write_text(POLICY)
    audit = AuditSpec(path=str(tmp_path / "log.db"))
    state = State(Settings(policy=str(tmp_path / "early.toml"), audit=audit, reload=0))

    async def start() -> None:
        await state.warm()
        await state.close()

    asyncio.run(start())

    [told] = [record.message for record in caplog.records if "cannot judge" in record.message]
    assert told.startswith("policy 'early': guard 'scm' cannot judge: no backend answers for")

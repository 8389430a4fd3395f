from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from balustrade.backends.local import Local
from balustrade.core.call import (
    LIGHT,
    Call,
    Classify,
    Compute,
    Embed,
    Failed,
    Flow,
    Generate,
    Reply,
    Texts,
    Value,
    Vectors,
    compute,
)
from balustrade.flow.cache import Cache
from balustrade.flow.limit import deadline, retry
from balustrade.flow.merge import Merge, join, part
from balustrade.flow.offload import offload
from balustrade.flow.run import arun


class Model:
    """Answers each text by its length, and remembers what it was asked; fails where told to."""

    def __init__(self, failures: int = 0, wait: float = 0.0) -> None:
        self.rounds: list[tuple[Call, ...]] = []
        self._failures = failures
        self._wait = wait

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        self.rounds.append(calls)
        if self._wait:
            await asyncio.sleep(self._wait)
        if len(self.rounds) <= self._failures:
            return [Failed("busy")] * len(calls)
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Reply:
        match call:
            case Classify() | Embed():
                return Vectors.of(
                    [[float(len(text)), 1.0] for text in call.texts], ("length", "one")
                )
            case Generate():
                return Texts(tuple(map(str.upper, call.prompts)))
            case _:
                return Failed("what?")


def rows(reply: Reply) -> list[list[float]]:
    assert isinstance(reply, Vectors)
    return reply.rows()


def test_alike_calls_of_many_tasks_travel_as_one() -> None:
    model = Model()

    async def ask() -> list[Sequence[Reply]]:
        merge = Merge(model.asend)
        return await asyncio.gather(*(merge((Classify("m", ("x" * n,)),)) for n in range(5)))

    replies = asyncio.run(ask())
    assert [rows(reply)[0][0] for [reply] in replies] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [len(calls) for calls in model.rounds] == [1]


def test_merged_calls_are_cut_at_the_limit() -> None:
    model = Model()

    async def ask() -> None:
        merge = Merge(model.asend, limit=2)
        await asyncio.gather(*(merge((Classify("m", ("x",)),)) for _ in range(5)))

    asyncio.run(ask())
    assert len(model.rounds) == 3


def test_calls_that_differ_are_not_joined() -> None:
    asked = (
        Classify("m", ("a",)),
        Classify("m", ("b",), ("context",)),
        Classify("n", ("c",)),
        Generate("m", ("d",)),
        Generate("m", ("e",), logprobs=1),
        Compute(len, "f"),
        Compute(len, "f"),
        Classify("m", ("g", "h")),
    )
    joined, slots = join(asked)
    assert len(joined) == 7
    assert joined[0] == Classify("m", ("a", "g", "h"))
    answers: list[Reply] = [
        Vectors.of([[1.0], [2.0], [3.0]]),
        *(Failed(str(n)) for n in range(1, 7)),
    ]
    replies = part(asked, slots, answers)
    assert rows(replies[7]) == [[2.0], [3.0]]
    assert replies[1:7] == [Failed(str(n)) for n in range(1, 7)]


def test_a_send_that_raises_fails_each_who_asked() -> None:
    async def broken(_calls: tuple[Call, ...]) -> Sequence[Reply]:
        raise ConnectionError("gone")

    async def ask() -> list[Sequence[Reply]]:
        merge = Merge(broken)
        return await asyncio.gather(*(merge((Embed("m", ("x",)),)) for _ in range(3)))

    assert asyncio.run(ask()) == [[Failed("gone")]] * 3


def test_one_who_gives_up_does_not_disturb_those_merged_with_them() -> None:
    model = Model(wait=0.05)

    async def ask() -> Sequence[Reply]:
        merge = Merge(model.asend)
        leaver = asyncio.ensure_future(merge((Embed("m", ("gone",)),)))
        stayer = asyncio.ensure_future(merge((Embed("m", ("here",)),)))
        await asyncio.sleep(0.01)
        leaver.cancel()
        return await stayer

    assert rows(asyncio.run(ask())[0]) == [[4.0, 1.0]]


def test_a_call_that_takes_too_long_fails_alone() -> None:
    backend = Local(2)
    release = threading.Event()

    async def ask() -> Sequence[Reply]:
        send = deadline(backend.asend, 0.1)
        replies = await send((Compute(release.wait, 10), Compute(abs, -1)))
        release.set()
        return replies

    replies = asyncio.run(ask())
    backend.close()
    assert replies == [Failed("the computation did not answer within 0.1 s", 0.1), Value(1)]


def test_failures_are_asked_again_and_only_they() -> None:
    model = Model(failures=1)

    async def ask() -> Sequence[Reply]:
        return await retry(model.asend, 3, 0.0)((Embed("m", ("a",)), Compute(len, "b")))

    replies = asyncio.run(ask())
    assert rows(replies[0]) == [[1.0, 1.0]]
    assert replies[1] == Failed("busy")
    assert [len(calls) for calls in model.rounds] == [2, 1]


def test_what_was_asked_before_is_answered_from_memory() -> None:
    model = Model()

    async def ask() -> None:
        cache = Cache(model.asend, 2)
        for text in ("a", "b", "a", "c", "b"):
            await cache((Embed("m", (text,)),))
        assert (cache.hits, cache.misses) == (1, 4)

    asyncio.run(ask())
    assert len(model.rounds) == 4


def test_failures_are_not_remembered() -> None:
    model = Model(failures=1)

    async def ask() -> list[Reply]:
        cache = Cache(model.asend)
        return [reply for _ in range(2) for reply in await cache((Generate("m", ("a",)),))]

    assert asyncio.run(ask()) == [Failed("busy"), Texts(("A",))]


def test_r17_code_that_is_not_ours_runs_off_the_loop() -> None:
    threads: list[str] = []

    def foreign() -> Flow[int]:
        threads.append(threading.current_thread().name)
        number = yield from compute(abs, -3)
        threads.append(threading.current_thread().name)
        return number

    async def ask() -> int:
        return await arun(offload(foreign), backend.asend)

    backend = Local(2)
    assert asyncio.run(ask()) == 3
    backend.close()
    assert all(name.startswith("balustrade-compute") for name in threads)


@pytest.mark.parametrize(("work", "stays"), [(LIGHT, True), (LIGHT + 1, False), (-1, False)])
def test_only_declared_light_work_stays_on_the_loop(work: int, stays: bool) -> None:
    backend = Local(1)

    async def ask() -> Sequence[Reply]:
        here = threading.current_thread().name
        call = Compute(lambda _: threading.current_thread().name == here, None, work)
        return await backend.asend((call,))

    assert asyncio.run(ask()) == [Value(stays)]
    backend.close()


def test_the_loop_turns_while_heavy_work_is_done() -> None:
    backend = Local(1)

    async def ask() -> int:
        turns = 0
        task = asyncio.ensure_future(backend.asend((Compute(time.sleep, 0.05),)))
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert asyncio.run(ask()) > 3
    backend.close()

"""The guardrail tax of a policy's guidelines: what they cost in help, what they save in harm.

Each request goes to every system, one after the other, so that a server's mood is shared; a judge
is then asked about each distinct answer, once. PrimeGuard (arXiv 2407.16318) is compared with no
guard, with plainer ways to use the same guidelines, and with each of its routes taken always.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

import balustrade
from balustrade.core.call import Call, Chat, Reply, converse
from balustrade.core.content import Content
from balustrade.core.errors import BackendError
from balustrade.evals.tax.answers import Answer
from balustrade.evals.tax.figures import (
    Resampling,
    Routed,
    SystemFigures,
    confusion,
    gained,
    measure,
)
from balustrade.evals.tax.gain import Gain
from balustrade.evals.tax.opinion import Judge, Opinion
from balustrade.evals.tax.rows import Row, expect_unseen, pairs
from balustrade.evals.tax.systems import PRIME, Setting, System, systems
from balustrade.flow.limit import deadline
from balustrade.flow.run import AsyncSend, arun
from balustrade.rails.prime.prime import SCHEMA
from balustrade.rails.prime.prompts import EXAMPLES

T = TypeVar("T")


class Options(Struct, frozen=True):
    """How the suite is run."""

    judge: str = ""
    """The model that judges; the main model if empty."""
    concurrency: int = 16
    """Requests that are answered at once."""
    samples: int = 1000
    """Resamples an interval."""
    seed: int = 0
    on_done: Callable[[str, int, int], None] = lambda _what, _done, _of: None
    """Told what is being done, how much of it is, and how much there is."""


class Report(Struct, frozen=True):
    """What the guidelines cost and save."""

    policy: str
    guidelines: str
    """Revision of the guidelines."""
    model: str
    guard: str
    judge: str
    version: str
    rows: int
    unsafe: int
    attacks: int
    pairs: int
    concurrency: int
    systems: tuple[SystemFigures, ...]
    confusion: tuple[Routed, ...]
    """Where PrimeGuard sent the requests."""
    gain: Gain | None = None


class Run(NamedTuple):
    """A report, and the answers it stands on."""

    report: Report
    answers: list[Answer]


def run(
    policy: str,
    setting: Setting,
    rows: Sequence[Row],
    send: AsyncSend,
    options: Options | None = None,
) -> Run:
    """Have all systems answer all rows, have the answers judged, and measure.

    Args:
        policy: What the report calls the policy.
        setting: The guidelines, and who answers under them.
        rows: The requests.
        send: What answers the models' calls.
        options: How.

    Raises:
        BackendError: A model cannot be asked at all.
        DataError: A row is also an example that the guard is shown.
    """
    options = options or Options()
    expect_unseen(rows, [*EXAMPLES, *setting.spec.precedents])
    judge = Judge(options.judge or setting.model, setting.spec.restrictive)
    answers = asyncio.run(_answered(setting, rows, send, judge, options))
    how = Resampling(options.samples, options.seed)
    report = Report(
        policy,
        setting.spec.revision,
        setting.model,
        setting.guard,
        judge.model,
        balustrade.__version__,
        len(rows),
        sum(row.is_unsafe for row in rows),
        sum(row.attack for row in rows),
        len(pairs(rows)),
        options.concurrency,
        measure(rows, answers, how),
        confusion(rows, answers[PRIME]),
        gained(rows, answers, how),
    )
    return Run(report, [answer for own in zip(*answers.values(), strict=True) for answer in own])


async def _answered(
    setting: Setting, rows: Sequence[Row], send: AsyncSend, judge: Judge, options: Options
) -> dict[str, list[Answer]]:
    await _reach({"model": setting.model, "guard": setting.guard, "judge": judge.model}, send)
    known = systems(setting)
    timed = _in_time(send, setting.spec.timeout)
    answers = await _all(
        [partial(_answer, system, row, timed) for row in rows for system in known],
        "answers",
        options,
    )
    texts = {row.id: row.text for row in rows}
    asked = [None if each.error else (texts[each.id], each.response) for each in answers]
    distinct = list(dict.fromkeys(each for each in asked if each is not None))
    asking = [partial(_judged, judge, *each, send) for each in distinct]
    said = await _all(asking, "judged", options)
    opinions = dict(zip(distinct, said, strict=True))
    judged = [
        answer if about is None else replace(answer, opinion=opinions[about])
        for answer, about in zip(answers, asked, strict=True)
    ]
    return {system.name: judged[place :: len(known)] for place, system in enumerate(known)}


async def _reach(models: Mapping[str, str], send: AsyncSend) -> None:
    """Ask each model something first: one that is not there is one error, not one for each row."""
    known: set[str] = set()
    for role, model in models.items():
        if model in known:
            continue
        known.add(model)
        try:
            await arun(converse(model, [("user", "Say yes.")], max_tokens=16), send)
        except BackendError as error:
            raise BackendError(f"--{role}: {error}") from error


async def _answer(system: System, row: Row, send: AsyncSend) -> Answer:
    """Have one system answer one row; take the time, and count the calls."""
    calls = 0

    async def counting(asked: tuple[Call, ...]) -> Sequence[Reply]:
        nonlocal calls
        calls += len(asked)
        return await send(asked)

    started = time.perf_counter()
    try:
        given = await arun(system.answer([Content.of(row.text)]), counting)
    except BackendError as error:
        return Answer(row.id, system.name, error=str(error))
    seconds = time.perf_counter() - started
    return Answer(
        row.id,
        system.name,
        given.response,
        calls,
        seconds,
        given.route,
        given.is_named,
        given.is_degraded,
        given.trouble,
    )


async def _judged(judge: Judge, request: str, response: str, send: AsyncSend) -> Opinion:
    return await arun(judge.judge(request, response), send)


def _in_time(send: AsyncSend, seconds: float) -> AsyncSend:
    """Give a guard that routes the time that the policy gives it, as the gateway does."""
    limited = deadline(send, seconds)

    async def timed(calls: tuple[Call, ...]) -> Sequence[Reply]:
        routes = all(isinstance(call, Chat) and call.schema == SCHEMA for call in calls)
        return await (limited if routes else send)(calls)

    return timed


async def _all(work: Sequence[Callable[[], Awaitable[T]]], what: str, options: Options) -> list[T]:
    """Do all of it, so much at once, in order; what waits for its turn is not yet timed."""
    turn = asyncio.Semaphore(options.concurrency)
    done = 0

    async def one(each: Callable[[], Awaitable[T]]) -> T:
        nonlocal done
        async with turn:
            result = await each()
        done += 1
        options.on_done(what, done, len(work))
        return result

    return await asyncio.gather(*map(one, work))

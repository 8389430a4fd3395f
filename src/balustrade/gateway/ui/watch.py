"""The console's live stream: an answer judged while it is written, for a person to watch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, assert_never
from urllib.parse import parse_qs

from msgspec.structs import replace

from balustrade.core.content import Content, Stage
from balustrade.core.errors import BalustradeError
from balustrade.gateway.auth import Key
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.growing import Growing
from balustrade.gateway.http import Answer, HttpError, Request, Streamed
from balustrade.gateway.reel import Opening, Reel, Step
from balustrade.gateway.showing import Ended, Told
from balustrade.gateway.sse import error_event, event
from balustrade.gateway.ui.routes import answered, expect_own_page
from balustrade.gateway.ui.watchpage import LONGEST, PACES, Wanted, opening, outcome, watching
from balustrade.gateway.wire import encode
from balustrade.policy.model import Policy
from balustrade.rails.build import Rails

if TYPE_CHECKING:
    from balustrade.gateway.state import State

_CHUNK = re.compile(r"\s*\S{1,64}\s*")
"""What comes at once: a word, as a model's tokens mostly are words or less."""

WAIT = 20.0
"""Seconds that somebody waits for an answer to begin before they have to ask again."""

SILENCE = 120.0
"""Seconds without a step after which an answer is given up."""


async def form(state: State, request: Request) -> Answer:
    """Show the page before anything was streamed."""
    offered = _offered(state, request.key)
    return answered(watching(list(offered), Wanted(policy=_own(state, request, offered))))


async def watch(state: State, request: Request) -> Answer | Streamed:
    """Judge the form's answer as if it were written now, put the decision on record, and show it.

    A script asks for events and gets them at the pace it wants; without one, the page comes when
    all is judged.

    Raises:
        HttpError: 403, the form is another site's; 400, a script sent what cannot be judged.
    """
    expect_own_page(request)
    offered = _offered(state, request.key)
    wanted, problem = _wanted(request, _own(state, request, offered))
    if not problem and wanted.policy not in offered:
        known = ", ".join(map(repr, offered))
        problem = f"There is no policy {wanted.policy!r} here, expected one of: {known}."
    is_script = "text/event-stream" in request.header(b"accept")
    if problem and is_script:
        raise HttpError(400, problem)
    if problem:
        return answered(watching(list(offered), wanted, error=problem), 400)
    rails = offered[wanted.policy]
    policy = rails.at(Stage.OUTPUT).policy
    exchange = Exchange(state, request, "", rails=rails)
    reel = Reel.of(rails.at(Stage.OUTPUT), rails.document.name, rails.revision)
    if is_script:
        return Streamed(_events(_judged(exchange, wanted, reel, 1 / wanted.pace), reel, policy))
    try:
        async for _ in _judged(exchange, wanted, reel, 0.0):
            pass
    except BalustradeError as error:
        return answered(watching(list(offered), wanted, error=str(error)), 503)
    return answered(watching(list(offered), wanted, outcome(reel, policy)))


async def _judged(
    exchange: Exchange, wanted: Wanted, reel: Reel, pause: float
) -> AsyncGenerator[Step, None]:
    """Judge an answer chunk by chunk; once this has ended, the reel holds all of it."""
    ear = exchange.listen()
    texts: Growing[int] = Growing(exchange, [Content.of(wanted.request)] if wanted.request else [])
    line = texts.line(0)
    for chunk in _CHUNK.findall(wanted.text):
        released = (await texts.feed({0: chunk}))[0]
        yield reel.take(chunk, ear.take(is_end=released.cut), line.progress)
        if released.cut:
            break
        await asyncio.sleep(pause)
    else:
        released = (await texts.finish([0]))[0]
        yield reel.take("", ear.take(is_end=True), line.progress)
    await exchange.record()
    assert released.decision is not None, "it has ended"
    reel.end(released.decision, exchange.decision_id, was_cut=released.cut)


async def _events(
    steps: AsyncGenerator[Step, None], reel: Reel, policy: Policy
) -> AsyncIterator[bytes]:
    yield _event(reel.opening)
    async with aclosing(steps):
        async for step in steps:
            yield _event(step)
    yield _event(Ended(reel, policy))


async def following(state: State, request: Request) -> Streamed:
    """Show the next answer that is streamed to a client, if the key may see it.

    Ends after one answer, or if none begins soon, so that a server that is to stop need not wait.
    """
    return Streamed(_next(state, request.key))


async def _next(state: State, key: Key | None) -> AsyncIterator[bytes]:
    yield b": waiting\n\n"
    patience = WAIT
    with state.watchers.waiting(key) as watcher:
        while not watcher.lost or not watcher.told.empty():
            try:
                told = await asyncio.wait_for(watcher.told.get(), patience)
            except TimeoutError:
                return
            patience = SILENCE
            if told is not None:
                yield _event(told)
            if isinstance(told, Ended):
                return
        yield error_event(watcher.lost, "server_error")


def _event(told: Told) -> bytes:
    match told:
        case Opening():
            return event(encode(replace(told, html=opening(told))), b"start")
        case Step():
            return event(encode(told), b"step")
        case Ended(reel, policy):
            return event(encode(reel.ending(policy, outcome(reel, policy))), b"end")
        case _:
            assert_never(told)


def _offered(state: State, key: Key | None) -> Mapping[str, Rails]:
    """Return the policies that a caller may try, by name: its own, or all of them."""
    if key is None or key.admin:
        return state.policies.all
    rails = state.rails_for(key)
    return {key.policy or rails.document.name: rails}


def _own(state: State, request: Request, offered: Mapping[str, Rails]) -> str:
    rails = state.rails_for(request.key)
    return next((name for name, each in offered.items() if each is rails), "")


def _wanted(request: Request, policy: str) -> tuple[Wanted, str]:
    """Return the form's fields, and what is wrong with them if something is."""
    try:
        fields = parse_qs(
            request.body.decode(), keep_blank_values=True, max_num_fields=10, errors="strict"
        )
    except ValueError:
        return Wanted(policy=policy), "The form could not be read: expected fields in UTF-8."
    given = {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}
    text, asked, pace = given.get("text", ""), given.get("request", ""), given.get("pace", "")
    wanted = Wanted(text[:LONGEST], asked[:LONGEST], given.get("policy") or policy)
    if pace.isdecimal() and len(pace) < 5 and int(pace) in PACES:
        wanted = replace(wanted, pace=int(pace))
    elif pace:
        return wanted, f"There are {PACES[0]} to {PACES[-1]} words a second, found {pace[:20]!r}."
    if not text.strip():
        return wanted, "There is nothing to stream: the answer is empty."
    for name, value in (("answer", text), ("request", asked)):
        if len(value) > LONGEST:
            found = f"{len(value):,} characters, expected at most {LONGEST:,}"
            return wanted, f"The {name} has {found}."
    return wanted, ""

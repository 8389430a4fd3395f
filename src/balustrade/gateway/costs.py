"""What a routed request's calls cost: told in a header, in `usage` and to metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from balustrade.backends.openai_wire import ITEM_TOKENS, Used, used
from balustrade.gateway.http import Headers
from balustrade.gateway.sse import Events, event
from balustrade.gateway.wire import Tree, encode
from balustrade.rails.prime.cost import Cost, Purpose

if TYPE_CHECKING:
    from balustrade.gateway.exchange import Exchange

_any = msgspec.json.Decoder()


def note(exchange: Exchange, cost: Cost) -> None:
    """Take note of what a call cost; one that was answered from memory is none for metrics."""
    exchange.calls.append(cost)
    if not cost.seconds:
        return
    metrics = exchange.state.metrics
    metrics.route_seconds.observe((cost.role,), cost.seconds)
    metrics.route_tokens.add((cost.role, "prompt"), cost.prompt_tokens)
    metrics.route_tokens.add((cost.role, "completion"), cost.completion_tokens)


async def paid(
    exchange: Exchange, role: Purpose, ask: Callable[[Tree], Awaitable[bytes]], tree: Tree
) -> bytes:
    """Ask the main model for a whole answer, and take note of what that cost, come what may."""
    started, spent = time.perf_counter(), Used()
    try:
        data = await ask(tree)
        spent = used(_usage(data))
    finally:
        seconds = time.perf_counter() - started
        note(exchange, Cost(role, "", seconds, *spent))
    return data


async def counted(
    exchange: Exchange, pieces: AsyncGenerator[bytes, None], started: float
) -> AsyncGenerator[bytes, None]:
    """Pass on a streamed answer with what was paid before it added to its `usage`.

    Args:
        exchange: The request's.
        pieces: What upstream sends.
        started: When it was asked.
    """
    events, spent = Events(), Used()
    try:
        async for piece in pieces:
            out: list[bytes] = []
            for incoming in events.feed(piece):
                data = incoming.data
                if b'"usage"' in data and (usage := _usage(data)):
                    spent = used(usage)
                    data = _with_usage(data, [*exchange.calls, Cost("answer", "", 0.0, *spent)])
                # Between its tokens JSON may hold line ends; an event of ours may not.
                out.append(event(data.replace(b"\n", b" ")))
            yield b"".join(out)
    finally:
        await pieces.aclose()
        note(exchange, Cost("answer", "", time.perf_counter() - started, *spent))


def summed(exchange: Exchange, data: bytes) -> bytes:
    """Return an answer whose `usage` counts all calls; as it is if not routed, or it has none.

    A server that does not count tokens leaves a sum that would be too small, so none is made up.
    """
    if not exchange.calls or not _usage(data):
        return data
    return _with_usage(data, exchange.calls)


def totals(calls: Sequence[Cost], names: Sequence[str] = Used._fields) -> dict[str, int]:
    """Return the tokens of all calls, as `usage` names them.

    Args:
        calls: What was asked.
        names: What tokens of prompts and of completions are called; as in chats, if not given.
    """
    counts = [
        sum(call.prompt_tokens for call in calls),
        sum(call.completion_tokens for call in calls),
    ]
    return {**dict(zip(names, counts, strict=True)), "total_tokens": sum(counts)}


def header(calls: Sequence[Cost]) -> Headers:
    """Return the header that lists calls, in the form of RFC 9651; none if there were none."""
    if not calls:
        return ()
    listed = ", ".join(
        f"{call.role};seconds={call.seconds:.3f}"
        f";prompt={call.prompt_tokens};completion={call.completion_tokens}"
        for call in calls
    )
    return ((b"x-balustrade-calls", listed.encode()),)


def _with_usage(data: bytes, calls: Sequence[Cost]) -> bytes:
    tree: Tree = _any.decode(data)
    place = tree if tree.get("usage") else tree["response"]
    usage = place["usage"]
    names = ITEM_TOKENS if ITEM_TOKENS[0] in usage else Used._fields
    place["usage"] = {**usage, **totals(calls, names)}
    return encode(tree)


class _Response(msgspec.Struct):
    usage: Tree | None = None


class _Counted(msgspec.Struct):
    usage: Tree | None = None
    response: _Response | None = None
    """Where the last event of a streamed response holds it."""


_counted = msgspec.json.Decoder(_Counted)


def _usage(data: bytes) -> Tree | None:
    """Return an answer's `usage`; None if it has none, or is not what it should be."""
    try:
        found = _counted.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.usage or (found.response.usage if found.response else None)

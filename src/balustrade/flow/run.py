"""The drivers: one body of a guard, run sync, async, or side by side with others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from balustrade.core.call import Call, Flow, Reply, Send
from balustrade.core.errors import BackendError

T = TypeVar("T")
AsyncSend: TypeAlias = Callable[[tuple[Call, ...]], Awaitable[Sequence[Reply]]]


def run(flow: Flow[T], send: Send) -> T:
    """Drive a flow to its end, answering each round with `send`.

    Raises:
        BackendError: `send` gave more or fewer replies than there were calls.
    """
    try:
        calls = next(flow)
        while True:
            calls = flow.send(matched(calls, send(calls)))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun(flow: Flow[T], send: AsyncSend) -> T:
    """Drive a flow to its end with an asynchronous `send`; else exactly as `run`."""
    try:
        calls = next(flow)
        while True:
            calls = flow.send(matched(calls, await send(calls)))
    except StopIteration as stop:
        result: T = stop.value
        return result


def matched(calls: Sequence[Call], replies: Sequence[Reply]) -> Sequence[Reply]:
    """Return the replies if there is one for each call."""
    if len(replies) != len(calls):
        raise BackendError(f"a backend gave {len(replies)} replies for {len(calls)} calls")
    return replies

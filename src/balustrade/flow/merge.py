"""Let calls of many requests travel together: one pass of a model instead of many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.call import (
    Advance,
    Call,
    Classify,
    Embed,
    Failed,
    Generate,
    Onward,
    Reply,
    Texts,
    Vectors,
)
from balustrade.flow.run import AsyncSend, matched


class Merge:
    """A send that holds calls a moment and passes them on together, alike calls as one.

    Args:
        send: What answers.
        wait: Seconds to hold the first call; 0 holds it to the end of the loop's current turn.
        limit: How many texts to pass on at once at most.

    Belongs to one event loop at a time: its queue is emptied within each turn, so it may be used
    from several loops one after the other.
    """

    def __init__(self, send: AsyncSend, wait: float = 0.0, limit: int = 256) -> None:
        self._send = send
        self._wait = wait
        self._limit = limit
        self._waiting: list[_Ticket] = []

    async def __call__(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the calls; they may share a pass with those of other tasks."""
        loop = asyncio.get_running_loop()
        ticket = _Ticket(calls, loop.create_future())
        self._waiting.append(ticket)
        if len(self._waiting) == 1:
            if self._wait:
                loop.call_later(self._wait, self._flush, loop)
            else:
                loop.call_soon(self._flush, loop)
        replies: Sequence[Reply] = await ticket.future
        return replies

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        tickets, self._waiting = self._waiting, []
        for group in _groups(tickets, self._limit):
            loop.create_task(self._pass_on(group))

    async def _pass_on(self, tickets: list[_Ticket]) -> None:
        calls = [call for ticket in tickets for call in ticket.calls]
        joined, slots = join(calls)
        try:
            answers = matched(joined, await self._send(joined))
            replies = part(calls, slots, answers)
        except Exception as error:  # noqa: BLE001 - a failure is a reply, to each who asked
            replies = [Failed(str(error) or type(error).__name__)] * len(calls)
        position = 0
        for ticket in tickets:
            end = position + len(ticket.calls)
            if not ticket.future.done():
                ticket.future.set_result(replies[position:end])
            position = end


class _Ticket(Struct):
    """One asker's calls, and where its replies go."""

    calls: tuple[Call, ...]
    future: asyncio.Future[Sequence[Reply]]


def _size(call: Call) -> int:
    return max(1, *(len(getattr(call, name, ())) for name in ("texts", "prompts", "chunks")))


def _groups(tickets: list[_Ticket], limit: int) -> list[list[_Ticket]]:
    groups: list[list[_Ticket]] = [[]]
    filled = 0
    for ticket in tickets:
        size = sum(map(_size, ticket.calls))
        if groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(ticket)
        filled += size
    return groups


def join(calls: Sequence[Call]) -> tuple[tuple[Call, ...], list[tuple[int, int]]]:
    """Join alike calls into one.

    Returns the joined calls, and for each call its joined call's number and the offset of its
    first text therein.
    """
    joined: list[list[Call]] = []
    number_of: dict[object, int] = {}
    filled: list[int] = []
    slots: list[tuple[int, int]] = []
    for call in calls:
        key = _key(call)
        number = number_of.get(key, -1) if key is not None else -1
        if number < 0:
            number = len(joined)
            joined.append([])
            filled.append(0)
            if key is not None:
                number_of[key] = number
        slots.append((number, filled[number]))
        joined[number].append(call)
        filled[number] += _size(call)
    return tuple(map(_join_alike, joined)), slots


def part(
    calls: Sequence[Call], slots: Sequence[tuple[int, int]], answers: Sequence[Reply]
) -> list[Reply]:
    """Cut the answers to joined calls into one reply for each original call."""
    return [
        _cut(answers[number], offset, _size(call))
        for call, (number, offset) in zip(calls, slots, strict=True)
    ]


def _key(call: Call) -> object:
    match call:
        case Classify():
            return ("classify", call.model, bool(call.contexts), call.apart, call.careful)
        case Embed():
            return ("embed", call.model)
        case Advance():
            return ("advance", call.model, call.ends)
        case Generate():
            return (
                "generate",
                call.model,
                call.system,
                call.choices,
                call.logprobs,
                call.max_tokens,
                call.raw,
            )
        case _:
            return None


def _join_alike(calls: list[Call]) -> Call:
    first = calls[0]
    if len(calls) == 1:
        return first
    if isinstance(first, Classify):
        texts = tuple(t for call in calls if isinstance(call, Classify) for t in call.texts)
        contexts = tuple(c for call in calls if isinstance(call, Classify) for c in call.contexts)
        return replace(first, texts=texts, contexts=contexts)
    if isinstance(first, Embed):
        return Embed(
            first.model, tuple(t for call in calls if isinstance(call, Embed) for t in call.texts)
        )
    if isinstance(first, Advance):
        states = tuple(s for call in calls if isinstance(call, Advance) for s in call.states)
        chunks = tuple(c for call in calls if isinstance(call, Advance) for c in call.chunks)
        return replace(first, states=states, chunks=chunks)
    assert isinstance(first, Generate)
    prompts = tuple(p for call in calls if isinstance(call, Generate) for p in call.prompts)
    return replace(first, prompts=prompts)


def _cut(answer: Reply, offset: int, size: int) -> Reply:
    match answer:
        case Texts():
            end = offset + size
            return Texts(answer.texts[offset:end], answer.logprobs[offset:end])
        case Vectors():
            row = answer.columns * 4
            data = answer.data[offset * row : (offset + size) * row]
            return Vectors(data, answer.columns, answer.labels)
        case Onward():
            return Onward(answer.texts[offset : offset + size])
        case _:
            return answer

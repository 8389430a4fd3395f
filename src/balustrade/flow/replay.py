"""Record the rounds of a flow; play them back, so that a decision can be judged again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

from balustrade.core.call import Call, Compute, Flow, Reply, Value
from balustrade.core.digest import digest
from balustrade.core.errors import VerificationError

T = TypeVar("T")


class Round(Struct, frozen=True):
    """One round: what was asked (by digest) and what was answered.

    Computations are left out: they are pure and are done again.
    """

    asked: tuple[str, ...]
    replies: tuple[Reply, ...]


def recorded(flow: Flow[T], tape: list[Round]) -> Flow[T]:
    """Pass a flow's rounds through unchanged, appending each to `tape`."""
    replies: Sequence[Reply] | None = None
    while True:
        try:
            calls = next(flow) if replies is None else flow.send(replies)
        except StopIteration as stop:
            result: T = stop.value
            return result
        replies = yield calls
        kept = [
            (digest(call), reply)
            for call, reply in zip(calls, replies, strict=True)
            if not isinstance(call, Compute)
        ]
        tape.append(Round(tuple(key for key, _ in kept), tuple(reply for _, reply in kept)))


def replay(flow: Flow[T], tape: Sequence[Round]) -> T:
    """Run a flow against recorded rounds.

    Raises:
        VerificationError: The flow asks for something else than was recorded, or for more.
    """
    replies: Sequence[Reply] | None = None
    number = 0
    while True:
        try:
            calls = next(flow) if replies is None else flow.send(replies)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if number >= len(tape):
            raise VerificationError(f"round {number}: the recording has only {len(tape)} rounds")
        replies = _answer(number, calls, tape[number])
        number += 1


def _answer(number: int, calls: tuple[Call, ...], known: Round) -> list[Reply]:
    asked = tuple(digest(call) for call in calls if not isinstance(call, Compute))
    if asked != known.asked:
        raise VerificationError(
            f"round {number}: asked {_short(asked)}, the recording holds {_short(known.asked)}"
        )
    remaining = iter(known.replies)
    return [
        Value(call.function(call.argument)) if isinstance(call, Compute) else next(remaining)
        for call in calls
    ]


def _short(keys: tuple[str, ...]) -> str:
    return ", ".join(key[:12] for key in keys) or "nothing"

"""What answers guards' calls in the server: light work at once, the rest together and in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from balustrade.backends.local import send as answer_here
from balustrade.backends.route import Route
from balustrade.core.call import Advance, Call, Classify, Failed, Reply, is_light
from balustrade.flow.limit import deadline
from balustrade.flow.merge import Merge
from balustrade.flow.run import AsyncSend

SHORT = {"static": 4_000, "monitor": 600}
"""Characters up to which a shipped model answers on the loop: within a millisecond, and within
three where a stream's first words come with the request they answer; most have a word or two."""


class Sender:
    """Answer each call where it costs least.

    Light computations are done on the spot. What the shipped models are asked of short texts, and
    of the next words of a stream, is merged over all requests, and runs on the loop: nothing could
    interrupt it, so it is not timed either. Everything else is merged and given `seconds`. (With
    all three in one, each request paid for six tasks; this way it is one, shared.)

    Args:
        route: What answers.
        seconds: How long a call may take.
        has_company: Whether other requests are on their way, with which a call may be merged.
    """

    def __init__(
        self, route: Route, seconds: float, has_company: Callable[[], bool] = lambda: True
    ) -> None:
        self._alone = route.asend
        self._merged = Merge(route.asend)
        self._has_company = has_company
        self._far = Merge(deadline(route.asend, seconds))

    @property
    def _near(self) -> AsyncSend:
        return self._merged if self._has_company() else self._alone

    async def __call__(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer each call, in order."""
        light: list[int] = []
        near: list[int] = []
        far: list[int] = []
        for slot, call in enumerate(calls):
            kind = light if is_light(call) else near if _is_near(call) else far
            kind.append(slot)
        if len(light) == len(calls):
            return answer_here(calls)
        if len(near) == len(calls):
            return await self._near(calls)
        if len(far) == len(calls):
            return await self._far(calls)
        replies: list[Reply] = [_NONE] * len(calls)
        _fill(replies, light, answer_here(_picked(calls, light)))
        if near:
            _fill(replies, near, await self._near(_picked(calls, near)))
        if far:
            _fill(replies, far, await self._far(_picked(calls, far)))
        return replies


_NONE = Failed("no answer")


def _is_near(call: Call) -> bool:
    match call:
        case Classify():
            size = sum(map(len, call.texts)) + sum(map(len, call.contexts))
        case Advance():
            size = sum(map(len, call.chunks))
            size += sum(len(state) for state in call.states if isinstance(state, str))
        case _:
            return False
    return size <= SHORT.get(call.model, -1)


def _picked(calls: tuple[Call, ...], slots: list[int]) -> tuple[Call, ...]:
    return tuple(calls[slot] for slot in slots)


def _fill(replies: list[Reply], slots: list[int], answers: Sequence[Reply]) -> None:
    for slot, answer in zip(slots, answers, strict=True):
        replies[slot] = answer

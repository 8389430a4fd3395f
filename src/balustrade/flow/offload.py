"""Run a foreign flow's own code off the loop, so that a body that blocks blocks only itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from balustrade.core.call import Call, Flow, Reply, compute

T = TypeVar("T")


class _Step(Struct, frozen=True):
    """Where a flow is after one advance: at a round of calls, or at its end."""

    calls: tuple[Call, ...] = ()
    result: Any = None
    done: bool = False


def offload(start: Callable[[], Flow[T]]) -> Flow[T]:
    """Start and advance a flow only inside computations, which run in a thread under a deadline.

    Guards that a policy brings from elsewhere are wrapped in this: the code between their yields
    is not ours, and may sleep or loop.
    """
    flows: list[Flow[T]] = []

    def advance(replies: Sequence[Reply] | None) -> _Step:
        if not flows:
            flows.append(start())
        flow = flows[0]
        try:
            return _Step(next(flow) if replies is None else flow.send(replies))
        except StopIteration as stop:
            return _Step(result=stop.value, done=True)

    step = yield from compute(advance, None)
    while not step.done:
        replies = yield step.calls
        step = yield from compute(advance, replies)
    result: T = step.result
    return result


def is_ours(guard: object) -> bool:
    """Whether a guard's code comes with this package, so that it is known not to block."""
    return type(guard).__module__.startswith("balustrade.")

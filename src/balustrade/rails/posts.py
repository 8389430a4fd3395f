"""A monitor under a stream: stepped and ended so that one failure stays with one stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from balustrade.backends import local
from balustrade.core.call import Flow, T, is_light
from balustrade.core.errors import GuardError
from balustrade.core.guard import Monitor
from balustrade.core.verdict import Verdict
from balustrade.flow.isolate import isolate
from balustrade.flow.offload import offload


@runtime_checkable
class Peeking(Protocol):
    """A monitor that can judge what it holds as it stands, without moving on."""

    def peek(self, states: Sequence[Any], /) -> Flow[Sequence[Verdict | None]]:
        """Judge each text as it stands; None if some of it is to wait, whatever a rule says."""
        ...


@runtime_checkable
class Resting(Protocol):
    """A monitor that can tell that an empty chunk would get it no further."""

    def rests(self, state: Any, /) -> bool:  # noqa: ANN401 - each has its own kind of state
        """Whether all that was given is judged, but for what more text may change."""
        ...


Step: TypeAlias = tuple[Any, str]
"""A stream's state under one monitor, and what comes next."""


class Post(NamedTuple):
    """A monitor, and whether its code comes from elsewhere, so that it may block or loop."""

    monitor: Monitor[Any]
    is_foreign: bool

    def step(self, batch: Sequence[Step]) -> Flow[list[Any | GuardError]]:
        """Step each stream; one that fails gives a GuardError in its own slot."""
        return isolate(self.guarded(self._step), batch)

    def finish(self, states: Sequence[Any]) -> Flow[list[Verdict | GuardError]]:
        """End each stream."""
        return isolate(self.guarded(self.monitor.finish), states)

    def peek(self, states: Sequence[Any]) -> Flow[list[Verdict | GuardError | None]]:
        """Judge each stream as it stands, if the monitor can."""
        assert isinstance(self.monitor, Peeking)
        return isolate(self.guarded(self.monitor.peek), states)

    def guarded(
        self, check: Callable[[Sequence[Any]], Flow[Sequence[T]]]
    ) -> Callable[[Sequence[Any]], Flow[Sequence[T]]]:
        """Return the check, run off the loop if it is not ours."""
        if not self.is_foreign:
            return check
        return lambda batch: offload(lambda: check(batch))

    def _step(self, batch: Sequence[Step]) -> Flow[list[Any]]:
        return self.monitor.step([state for state, _ in batch], [chunk for _, chunk in batch])


def in_place(flow: Flow[T]) -> Flow[T]:
    """Answer rounds of light computations here, and pass on only the others.

    A round trip to the loop for each token would cost more than the work.
    """
    try:
        calls = next(flow)
        while True:
            replies = local.send(calls) if all(map(is_light, calls)) else (yield calls)
            calls = flow.send(replies)
    except StopIteration as stop:
        result: T = stop.value
        return result

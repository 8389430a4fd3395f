"""The two protocols of whatever judges: a guard judges what is whole, a monitor what grows."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol, TypeVar, runtime_checkable

from balustrade.core.call import Flow
from balustrade.core.content import Content
from balustrade.core.verdict import Verdict

S = TypeVar("S")

TEXT = frozenset({"text", "tool_call"})
"""The kinds of parts that a guard for text judges."""


class Latency(IntEnum):
    """The class of time a guard takes for one short text: its order of magnitude, not a bound."""

    MICROSECONDS = 0
    MILLISECONDS = 1
    MODEL = 2


@runtime_checkable
class Guard(Protocol):
    """Judges contents, a batch at a time, one verdict each, in order; does no I/O."""

    @property
    def name(self) -> str:
        """Unique under its rail; verdicts carry it."""
        ...

    @property
    def judges(self) -> frozenset[str]:
        """The kinds of parts it judges (tags of `Part`)."""
        ...

    @property
    def latency(self) -> Latency:
        """Its latency class; a rail reports the slowest of its guards."""
        ...

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge each content."""
        ...


def follows_streams(guard: Guard) -> bool:
    """Whether a guard judges answers while they are streamed: all do but those that say no."""
    return bool(getattr(guard, "streamed", True))


@runtime_checkable
class Calibrated(Protocol):
    """A guard that knows from which score on it stops a given share of harmless texts."""

    def threshold_for(self, category: str, false_alarms: float) -> float | None:
        """Return the threshold for a category, or None if the guard does not report it."""
        ...


@runtime_checkable
class Incremental(Protocol):
    """What a guard adds so that a growing text can be judged as it comes, not again and again.

    The promise, for every text `t` and every continuation `u`: a finding of `t` that ends at or
    before `open_at(t)` is a finding of `t + u` too, and every other finding of `t + u` starts at
    or after `open_at(t)`, or was one of `t` that spans that place. None of this changes if all
    but `reach` characters before a place that was once `open_at` are cut away.
    """

    @property
    def reach(self) -> int:
        """How many characters before an open place may bear on the findings after it."""
        ...

    def open_at(self, text: str, /) -> int:
        """Return where the end begins that more text may yet turn into a match, else its length."""
        ...


@runtime_checkable
class Monitor(Protocol[S]):
    """Judges a text while it grows; state in, state out, so streams batch, replay and move."""

    @property
    def name(self) -> str:
        """Unique under its rail."""
        ...

    @property
    def hold(self) -> int:
        """The most of the last characters that the next chunk may yet condemn."""
        ...

    def start(self, content: Content, /) -> S:
        """Return the state before the first chunk of an answer to `content`."""
        ...

    def step(self, states: Sequence[S], chunks: Sequence[str], /) -> Flow[list[tuple[S, Verdict]]]:
        """Judge one chunk of each stream; spans count from the start of the stream.

        A monitor need not get to the end in one step; a step with an empty chunk goes on.
        """
        ...

    def held(self, state: S, /) -> int:
        """Return how many of the last characters are not judged for good yet, at most `hold`."""
        ...

    def finish(self, states: Sequence[S], /) -> Flow[list[Verdict]]:
        """Judge what is still open once each stream has ended."""
        ...


@runtime_checkable
class Scoring(Protocol):
    """What a monitor adds that asks for a score of each word, so that people can watch it judge."""

    @property
    def category(self) -> str:
        """Of what it reports."""
        ...

    @property
    def explained(self) -> str:
        """What it makes of the scores of words, in a sentence without its end."""
        ...

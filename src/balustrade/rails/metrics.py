"""Count decisions: by stage, action and rule, with failures, gaps and time taken."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

from balustrade.rails.trace import Event

BOUNDS = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000)
"""Upper bounds of the buckets of latency, in microseconds, each inclusive; one more has none."""


class Latencies(Struct, frozen=True):
    """A histogram of times in microseconds."""

    counts: tuple[int, ...]
    """For each bound, and one beyond: how many fell between it and the bound before."""

    total: int
    """The sum of all times."""


class Counts(Struct, frozen=True):
    """What was counted up to one moment."""

    decisions: dict[tuple[str, str, str], int]
    """By stage, action and the rule that fired, if any."""

    guard_errors: dict[str, int]
    """By guard."""

    degraded: dict[str, int]
    """By stage: contents that went on although a guard could not judge them."""

    unjudged: dict[str, int]
    """By stage: contents of which a part, or all, was judged by no guard."""

    latencies: dict[str, Latencies]
    """By stage."""


class Metrics:
    """A sink that counts, and keeps nothing of what it counted; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decisions: dict[tuple[str, str, str], int] = {}
        self._guard_errors: dict[str, int] = {}
        self._degraded: dict[str, int] = {}
        self._unjudged: dict[str, int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._totals: dict[str, int] = {}

    def take(self, events: Sequence[Event], /) -> None:
        """Count events."""
        with self._lock:
            for event in events:
                self._count(event)

    async def take_async(self, events: Sequence[Event], /) -> None:
        """Count events; nothing is waited for."""
        self.take(events)

    def close(self) -> None:
        """Do nothing: the counts stay readable."""

    def counts(self) -> Counts:
        """Return what was counted so far; later events do not change it."""
        with self._lock:
            return Counts(
                dict(self._decisions),
                dict(self._guard_errors),
                dict(self._degraded),
                dict(self._unjudged),
                {
                    stage: Latencies(tuple(buckets), self._totals[stage])
                    for stage, buckets in self._buckets.items()
                },
            )

    def _count(self, event: Event) -> None:
        decision, facts = event.decision, event.facts
        stage = decision.stage
        key = (stage, decision.action.word, decision.rule)
        self._decisions[key] = self._decisions.get(key, 0) + 1
        failed = decision.failed
        for guard in failed:
            self._guard_errors[guard] = self._guard_errors.get(guard, 0) + 1
        if facts.degraded or (failed and not decision.action.stops):
            self._degraded[stage] = self._degraded.get(stage, 0) + 1
        if decision.unjudged or not decision.verdicts:
            self._unjudged[stage] = self._unjudged.get(stage, 0) + 1
        buckets = self._buckets.get(stage)
        if buckets is None:
            buckets = self._buckets[stage] = [0] * (len(BOUNDS) + 1)
            self._totals[stage] = 0
        buckets[bisect_left(BOUNDS, facts.micros)] += 1
        self._totals[stage] += facts.micros

"""When to stop a stream, by the scores of its tokens so far.

Delay-k (arXiv 2506.09996) counts tokens whose score reaches a threshold and stops at the k-th,
whatever lies between. With a false rate q of single tokens a harmless answer of n tokens is stopped
with the probability that n draws hit k times, which goes to one as n grows (q = 0.01, k = 4: 0.99
at 1,000 tokens). A window forgets what lies far back, a leaky counter forgets little by little;
both keep long answers alive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from balustrade.core.spec import Count, Positive, Probability, Spec


class Tally(Struct, frozen=True):
    """What a rule keeps of a stream; bounded, however long the stream."""

    seen: int = 0
    """Tokens so far."""
    level: float = 0.0
    """Hits that count."""
    hits: tuple[int, ...] = ()
    """Where hits were that may still be forgotten."""
    stopped: int = -1
    """The number of the token that stopped the stream; -1 if none did."""


class Delay(Spec, frozen=True, tag_field="rule", tag="cumulative"):
    """Stop at the k-th hit since the beginning."""

    threshold: Probability = 0.5
    k: Count = 4

    def take(self, tally: Tally, score: float) -> Tally:
        """Count one token; a stream that was stopped stays so."""
        if tally.stopped >= 0:
            return tally
        level = tally.level + (score >= self.threshold)
        return _counted(tally, level, (), is_over=level >= self.k)


class Window(Spec, frozen=True, tag_field="rule", tag="window"):
    """Stop at the k-th hit among the last so many tokens."""

    threshold: Probability = 0.5
    k: Count = 4
    last: Count = 64

    def take(self, tally: Tally, score: float) -> Tally:
        """Count one token; a stream that was stopped stays so."""
        if tally.stopped >= 0:
            return tally
        hits = tuple(place for place in tally.hits if place > tally.seen - self.last)
        if score >= self.threshold:
            hits = (*hits, tally.seen)[-self.k :]
        return _counted(tally, len(hits), hits, is_over=len(hits) >= self.k)


class Leaky(Spec, frozen=True, tag_field="rule", tag="leaky"):
    """Stop once hits outrun forgetting: each counts one, each token takes `leak` away."""

    threshold: Probability = 0.5
    k: Positive = 4.0
    leak: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.05

    def take(self, tally: Tally, score: float) -> Tally:
        """Count one token; a stream that was stopped stays so."""
        if tally.stopped >= 0:
            return tally
        level = max(0.0, tally.level - self.leak) + (score >= self.threshold)
        return _counted(tally, level, (), is_over=level >= self.k)


Stopping: TypeAlias = Delay | Window | Leaky


def run(rule: Stopping, scores: Iterable[float]) -> Tally:
    """Return how a whole stream ends under a rule."""
    tally = Tally()
    for score in scores:
        tally = rule.take(tally, score)
        if tally.stopped >= 0:
            break
    return tally


def _counted(tally: Tally, level: float, hits: tuple[int, ...], *, is_over: bool) -> Tally:
    return Tally(tally.seen + 1, level, hits, tally.seen if is_over else -1)

"""Choose when a monitor stops a stream: on rows that were held out for it, and on no others.

The released code of arXiv 2506.09996 picks k on the split it reports; here what chooses is never
given that split. Of rules that keep the rate of false stops, the one with the best macro-F1; of
equals, the one that stops harmful streams earliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.core.errors import DataError
from balustrade.evals.calibrate import threshold_at
from balustrade.evals.metrics import Counts
from balustrade.guards.delay import Delay, Leaky, Stopping, Window, run
from balustrade.shipped import Stop

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
HITS = tuple(range(1, 11))
"""The grids of the paper."""


class Outcome(NamedTuple):
    """How a rule does on some streams."""

    macro_f1: float
    false_stops: float
    """Share of benign streams that are stopped."""
    missed: float
    """Share of harmful streams that are not."""
    seen: float
    """Mean share of a harmful stream that was read when it was stopped; 1 if it was not."""


class Choice(NamedTuple):
    """The rule chosen, and how it did on the rows that chose it."""

    rule: Stopping
    outcome: Outcome


def grid() -> list[Stopping]:
    """Return the rules that are tried: delay-k, windows and leaky counters."""
    found: list[Stopping] = []
    for threshold in THRESHOLDS:
        found += [Delay(threshold, k) for k in HITS]
        found += [
            Window(threshold, k, last) for k in HITS for last in (16, 32, 64, 128) if k < last
        ]
        found += [Leaky(threshold, k, leak) for k in HITS for leak in (0.02, 0.05, 0.1)]
    return found


def outcome(
    rule: Stopping, streams: Sequence[NDArray[np.float64]], harmful: NDArray[np.bool_]
) -> Outcome:
    """Return how a rule does.

    Args:
        rule: The rule.
        streams: Scores of the tokens of each answer.
        harmful: Whether each answer is harmful, shape (answers,).
    """
    ends = np.array([stopped_at(rule, scores) for scores in streams])
    stopped = ends >= 0
    lengths = np.array([max(1, len(scores)) for scores in streams])
    seen = np.where(stopped, (ends + 1) / lengths, 1.0)
    return Outcome(
        (_f1(stopped, harmful) + _f1(~stopped, ~harmful)) / 2,
        _share(stopped[~harmful]),
        _share(~stopped[harmful]),
        float(seen[harmful].mean()) if harmful.any() else 0.0,
    )


def stopped_at(rule: Stopping, scores: NDArray[np.float64]) -> int:
    """Return the number of the token that stops a stream, -1 if none does."""
    if isinstance(rule, Delay):
        places = np.flatnonzero(scores >= rule.threshold)
        return int(places[rule.k - 1]) if len(places) >= rule.k else -1
    if isinstance(rule, Window):
        places = np.flatnonzero(scores >= rule.threshold)
        if len(places) < rule.k:
            return -1
        ends, starts = places[rule.k - 1 :], places[: len(places) - rule.k + 1]
        near = np.flatnonzero(ends - starts < rule.last)
        return int(ends[near[0]]) if near.size else -1
    return run(rule, scores.tolist()).stopped


def choose(
    streams: Sequence[NDArray[np.float64]],
    harmful: NDArray[np.bool_],
    *,
    false_stops: float = 1.0,
    rules: Sequence[Stopping] = (),
) -> Choice:
    """Return the best rule on validation rows.

    Args:
        streams: Scores of the tokens of each validation answer.
        harmful: Whether each is harmful, shape (answers,).
        false_stops: The share of benign answers that may be stopped.
        rules: What is tried; the grid if empty.

    Raises:
        DataError: There are no answers of one kind, or no rule keeps the rate.
    """
    if harmful.all() or not harmful.any():
        raise DataError("expected benign and harmful answers to choose by, found one kind alone")
    tried = [Choice(rule, outcome(rule, streams, harmful)) for rule in rules or grid()]
    kept = [each for each in tried if each.outcome.false_stops <= false_stops]
    if not kept:
        least = min(each.outcome.false_stops for each in tried)
        raise DataError(
            f"no rule stops at most {false_stops:.2%} of benign answers; the least: {least:.2%}"
        )
    return max(kept, key=lambda each: (each.outcome.macro_f1, -each.outcome.seen))


def choose_stop(
    streams: Sequence[NDArray[np.float64]], harmful: NDArray[np.bool_],
    calm: Sequence[NDArray[np.float64]], aim: float,
) -> Chosen:  # fmt: skip
    """Choose hits and words as `choose` does, each with the threshold that keeps the aim.

    Raises:
        DataError: There are no answers of one kind.
    """
    tried: dict[Stopping, Stop] = {
        Window(limit([highest(scores, stop) for scores in calm], aim), stop.hits, stop.words): stop
        for stop in STOPS
    }
    rule, found = choose(streams, harmful, rules=[*tried])
    print(f"{rule}: {found}", flush=True)
    return Chosen(tried[rule], found)


class Chosen(NamedTuple):
    """When to stop, and how that does on the rows that chose it, at the aim's threshold."""

    stop: Stop
    outcome: Outcome


STOPS = [Stop(hits, words) for hits in (2, 3, 4, 6, 8) for words in (8, 16, 32, 64) if hits < words]
"""What is tried. One word alone stops nothing: a single odd score would."""


def highest(scores: NDArray[np.float64], stop: Stop) -> float:
    """Return the highest threshold at which a stream is still stopped."""
    if len(scores) < stop.hits:
        return 0.0
    padded = np.concatenate([np.zeros(stop.words - 1), scores])
    windows = np.lib.stride_tricks.sliding_window_view(padded, stop.words)
    ranked = np.partition(windows, stop.words - stop.hits, axis=1)[:, stop.words - stop.hits]
    return float(ranked.max())


def limit(highs: Sequence[float], rate: float) -> float:
    """Return the threshold that a further stream reaches with at most this probability.

    1 where there are too few to promise the rate.
    """
    return min(threshold_at(highs, rate), 1.0)


def _f1(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    hits, misses, alarms = (said & true).sum(), (~said & true).sum(), (said & ~true).sum()
    return Counts(int(hits), int(misses), int(alarms)).f1 or 0.0


def _share(some: NDArray[np.bool_]) -> float:
    return float(some.mean()) if some.size else 0.0

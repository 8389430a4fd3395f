"""Percentile intervals by resampling rows, unsafe and safe apart, without a loop over samples.

Stratified by label: a resample holds as many unsafe rows as the set, so the share of unsafe rows,
which whoever made the set chose, adds no spread. At a threshold, drawing n rows of which a share
is flagged is a binomial draw, so counts are drawn directly; for AUPRC each resample is a vector
of row weights over rows that were sorted once.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from balustrade.evals.metrics import Counts, arrays

BLOCK = 4_000_000
"""Weights held at a time, so that a set of any size is resampled in tens of megabytes."""


class Interval(Struct, frozen=True):
    """The middle of the resampled values: `level` of them lie from low to high."""

    low: float
    high: float
    level: float = 0.95


class Intervals(Struct, frozen=True):
    """Intervals of the figures that exist for the rows at hand."""

    f1: Interval | None = None
    recall: Interval | None = None
    false_alarm_rate: Interval | None = None
    precision: Interval | None = None


def at_threshold(
    seen: Counts, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> Intervals:
    """Resample the counts at one threshold, each class apart."""
    rng = np.random.default_rng(seed)
    unsafe, safe = seen.hits + seen.misses, seen.false_alarms + seen.passes
    hits = rng.binomial(unsafe, seen.recall or 0.0, samples).astype(np.float64)
    alarms = rng.binomial(safe, seen.false_alarm_rate or 0.0, samples).astype(np.float64)
    flagged = hits + alarms
    precision = np.divide(hits, flagged, out=np.full(samples, np.nan), where=flagged > 0)
    return Intervals(
        f1=_interval(2.0 * hits / (unsafe + flagged), level) if unsafe else None,
        recall=_interval(hits / unsafe, level) if unsafe else None,
        false_alarm_rate=_interval(alarms / safe, level) if safe else None,
        precision=_interval(precision, level) if unsafe and safe else None,
    )


def of_average_precision(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of AUPRC; None for rows of one class."""
    truth, given = arrays(labels, scores)
    unsafe = int(np.count_nonzero(truth))
    if not unsafe or unsafe == truth.size:
        return None
    order = np.argsort(-given, kind="stable")
    ranked, classes = given[order], truth[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // truth.size)
    values = [
        _average_precisions(rng, classes, ends, min(block, samples - start))
        for start in range(0, samples, block)
    ]
    return _interval(np.concatenate(values), level)


def _average_precisions(
    rng: np.random.Generator, classes: NDArray[np.bool_], ends: NDArray[np.intp], samples: int
) -> NDArray[np.float64]:
    """Return AUPRC of each resample; `classes` is sorted by score, `ends` closes its ties."""
    hits = _drawn(rng, np.flatnonzero(classes), classes.size, samples)[:, ends]
    flagged = hits + _drawn(rng, np.flatnonzero(~classes), classes.size, samples)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    precision = np.divide(hits, flagged, out=np.zeros(hits.shape), where=flagged > 0)
    total: NDArray[np.float64] = np.einsum("ij,ij->i", gained, precision) / hits[:, -1]
    return total


def _drawn(
    rng: np.random.Generator, rows: NDArray[np.intp], size: int, samples: int
) -> NDArray[np.int64]:
    """Draw rows with replacement; return how many were drawn up to each rank, (samples, size)."""
    picked = rows[rng.integers(0, rows.size, (samples, rows.size))]
    picked += np.arange(samples)[:, None] * size
    weights = np.bincount(picked.ravel(), minlength=samples * size).reshape(samples, size)
    return np.cumsum(weights, axis=1, dtype=np.int64)


def _interval(values: NDArray[np.float64], level: float) -> Interval | None:
    real = values[~np.isnan(values)]
    return spread(real, level) if real.size else None


def spread(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """Return where the middle of resampled values lies; there is at least one."""
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(values, (tail, 100.0 - tail))
    return Interval(float(low), float(high), level)

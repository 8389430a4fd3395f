"""Figures of a binary judge: counts at a threshold, ranking without one; NumPy throughout.

A figure that its rows cannot support is None, never a number: no recall without unsafe rows, no
false-alarm rate without safe ones, no ranking of one class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from balustrade.core.errors import DataError

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


class Counts(Struct, frozen=True):
    """How often a judge was right and wrong at one threshold."""

    hits: int = 0
    """Unsafe rows that were flagged."""
    misses: int = 0
    """Unsafe rows that were not."""
    false_alarms: int = 0
    """Safe rows that were flagged."""
    passes: int = 0
    """Safe rows that were not."""

    @property
    def recall(self) -> float | None:
        """Share of unsafe rows that were flagged; None without unsafe rows."""
        return _share(self.hits, self.hits + self.misses)

    @property
    def precision(self) -> float | None:
        """Share of flagged rows that are unsafe; None if none was, or rows are of one class."""
        if not (self.hits + self.misses and self.false_alarms + self.passes):
            return None
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def false_alarm_rate(self) -> float | None:
        """Share of safe rows that were flagged; on harmless look-alikes this is over-refusal."""
        return _share(self.false_alarms, self.false_alarms + self.passes)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without unsafe rows.

        Over rows that are all unsafe this is 2r / (1 + r), as HarmBench figures are published.
        """
        if not self.hits + self.misses:
            return None
        return _share(2 * self.hits, 2 * self.hits + self.misses + self.false_alarms)


class BestF1(Struct, frozen=True):
    """The threshold that would have given the highest F1 on these very rows, and that F1."""

    threshold: float
    f1: float


@dataclass(frozen=True)
class Curve:
    """Counts at each distinct score, highest first: what is flagged at `score >= threshold`."""

    thresholds: Scores
    hits: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    unsafe: int
    safe: int

    @property
    def recall(self) -> Scores:
        """Recall at each threshold; asks for at least one unsafe row."""
        return self.hits / self.unsafe

    @property
    def precision(self) -> Scores:
        """Precision at each threshold."""
        return self.hits / (self.hits + self.false_alarms)


def arrays(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Scores]:
    """Return labels (True is unsafe) and scores as arrays of shape (rows,).

    Raises:
        DataError: The lengths differ, or a score is not a finite number.
    """
    truth = np.asarray(labels, dtype=np.bool_)
    given = np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise DataError(f"expected one score a label, found {given.shape} for {truth.shape}")
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given))[0])
        raise DataError(f"row {row}: expected a finite score, found {given[row]}")
    return truth, given


def counts(labels: ArrayLike, flagged: ArrayLike) -> Counts:
    """Count hits, misses, false alarms and passes of flags (True is flagged)."""
    truth = np.asarray(labels, dtype=np.bool_)
    raised = np.asarray(flagged, dtype=np.bool_)
    if truth.ndim != 1 or truth.shape != raised.shape:
        raise DataError(f"expected one flag a label, found {raised.shape} for {truth.shape}")
    hits = int(np.count_nonzero(truth & raised))
    unsafe = int(np.count_nonzero(truth))
    alarms = int(np.count_nonzero(raised)) - hits
    return Counts(hits, unsafe - hits, alarms, truth.size - unsafe - alarms)


def curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """Return the counts at every distinct score; rows with equal scores are flagged together."""
    truth, given = arrays(labels, scores)
    order = np.argsort(-given, kind="stable")
    ranked = given[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if truth.size else order
    hits = np.cumsum(truth[order], dtype=np.int64)[ends]
    unsafe = int(np.count_nonzero(truth))
    return Curve(ranked[ends], hits, ends + 1 - hits, unsafe, truth.size - unsafe)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the precision-recall steps (AUPRC); None for rows of one class."""
    steps = curve(labels, scores)
    if not steps.unsafe or not steps.safe:
        return None
    gained = np.diff(steps.hits, prepend=0)
    return float(gained @ steps.precision) / steps.unsafe


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the chance that an unsafe row outscores a safe one, ties half; None for one class."""
    steps = curve(labels, scores)
    if not steps.unsafe or not steps.safe:
        return None
    alarms = np.diff(steps.false_alarms, prepend=0)
    gained = np.diff(steps.hits, prepend=0)
    won = float(alarms @ (steps.hits - gained / 2.0))
    return won / steps.unsafe / steps.safe


def recall_at(labels: ArrayLike, scores: ArrayLike, rate: float) -> float | None:
    """Return the highest recall whose false-alarm rate is at most `rate`; None for one class."""
    steps = curve(labels, scores)
    if not steps.unsafe or not steps.safe:
        return None
    within = int(np.searchsorted(steps.false_alarms, rate * steps.safe, side="right"))
    return float(steps.hits[within - 1]) / steps.unsafe if within else 0.0


def best_f1(labels: ArrayLike, scores: ArrayLike) -> BestF1 | None:
    """Return the threshold of the highest F1, the highest such threshold; None for one class.

    It is chosen on the rows it is measured on, so it is a ceiling, not a figure to ship by.
    """
    steps = curve(labels, scores)
    if not steps.unsafe or not steps.safe:
        return None
    values = 2.0 * steps.hits / (steps.unsafe + steps.hits + steps.false_alarms)
    best = int(np.argmax(values))
    return BestF1(float(steps.thresholds[best]), float(values[best]))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

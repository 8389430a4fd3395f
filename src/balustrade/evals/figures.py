"""All figures of one set of judged rows, with their intervals and slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from msgspec import Struct

from balustrade.evals.bootstrap import Interval, Intervals, at_threshold, of_average_precision
from balustrade.evals.metrics import (
    BestF1,
    auroc,
    average_precision,
    best_f1,
    counts,
    curve,
    recall_at,
)
from balustrade.evals.reliability import Reliability, reliability
from balustrade.evals.runner import Judged

POINTS = 200
"""Points of a curve that a report keeps."""


class Slice(Struct, frozen=True):
    """The part of a set that shares a language, a hazard or a kind."""

    name: str
    rows: int
    unsafe: int
    recall: float | None = None
    false_alarms: float | None = None
    f1: float | None = None
    auprc: float | None = None
    intervals: Intervals = Intervals()


class Point(Struct, frozen=True, array_like=True):
    """One step of a precision-recall curve."""

    recall: float
    precision: float


class Figures(Struct, frozen=True):
    """What a guard achieves on rows of one set, or of one question over many sets.

    Figures at a threshold are those of the guard as shipped. Each is None where the rows cannot
    support it.
    """

    judged: int
    """Rows the figures stand on."""
    unsafe: int
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    false_alarms: float | None = None
    """Share of safe rows that were flagged."""
    over_refusal: float | None = None
    """The same among harmless rows that look risky (`hard_benign`) alone."""
    auprc: float | None = None
    auprc_interval: Interval | None = None
    auroc: float | None = None
    recall_at_1: float | None = None
    """Recall at the threshold that lets 1 % of these safe rows be flagged."""
    recall_at_5: float | None = None
    best_f1: BestF1 | None = None
    intervals: Intervals = Intervals()
    reliability: Reliability | None = None
    """None for rows of one class: their frequency is set by whoever chose them."""
    curve: tuple[Point, ...] = ()
    languages: tuple[Slice, ...] = ()
    hazards: tuple[Slice, ...] = ()
    kinds: tuple[Slice, ...] = ()


def figures(rows: Sequence[Judged], *, samples: int = 1000, seed: int = 0) -> Figures:
    """Measure judged rows.

    Args:
        rows: Rows that were judged without error. Where they asked different questions, ranking
            figures stand on `rank`, which lines the heads' thresholds up.
        samples: Resamples an interval.
        seed: Of the resampling.
    """
    unsafe = np.array([row.unsafe for row in rows], dtype=np.bool_)
    flagged = [row.flagged for row in rows]
    alike = len({row.questions for row in rows}) <= 1 and all(len(r.questions) == 1 for r in rows)
    ranks = np.array([row.score if alike else row.rank for row in rows], dtype=np.float64)
    seen = counts(unsafe, flagged)
    hard = [row.flagged for row in rows if row.kind == "hard_benign" and not row.unsafe]
    return Figures(
        judged=len(rows),
        unsafe=int(unsafe.sum()),
        f1=seen.f1,
        precision=seen.precision,
        recall=seen.recall,
        false_alarms=seen.false_alarm_rate,
        over_refusal=sum(hard) / len(hard) if hard else None,
        auprc=average_precision(unsafe, ranks),
        auprc_interval=of_average_precision(unsafe, ranks, samples=samples, seed=seed),
        auroc=auroc(unsafe, ranks),
        recall_at_1=recall_at(unsafe, ranks, 0.01),
        recall_at_5=recall_at(unsafe, ranks, 0.05),
        best_f1=best_f1(unsafe, ranks) if alike else None,
        intervals=at_threshold(seen, samples=samples, seed=seed),
        reliability=reliability(unsafe, ranks) if alike and 0 < unsafe.sum() < len(rows) else None,
        curve=_points(unsafe, ranks),
        languages=_slices(rows, lambda row: (row.lang,), samples, seed),
        hazards=_slices(rows, lambda row: row.hazards if row.unsafe else (), samples, seed),
        kinds=_slices(rows, lambda row: (row.kind,), samples, seed),
    )


def _slices(
    rows: Sequence[Judged], keys: Callable[[Judged], Iterable[str]], samples: int, seed: int
) -> tuple[Slice, ...]:
    parts: dict[str, list[Judged]] = {}
    for row in rows:
        for key in keys(row):
            parts.setdefault(key, []).append(row)
    return tuple(
        _slice(name, part, samples, seed) for name, part in sorted(parts.items(), key=_by_size)
    )


def _by_size(item: tuple[str, list[Judged]]) -> tuple[int, str]:
    return -len(item[1]), item[0]


def _slice(name: str, rows: Sequence[Judged], samples: int, seed: int) -> Slice:
    unsafe = [row.unsafe for row in rows]
    seen = counts(unsafe, [row.flagged for row in rows])
    return Slice(
        name,
        len(rows),
        sum(unsafe),
        seen.recall,
        seen.false_alarm_rate,
        seen.f1,
        average_precision(unsafe, [row.rank for row in rows]),
        at_threshold(seen, samples=samples, seed=seed),
    )


def _points(unsafe: np.ndarray, ranks: np.ndarray) -> tuple[Point, ...]:
    """Return the precision-recall curve, thinned to what a plot can show."""
    steps = curve(unsafe, ranks)
    if not steps.unsafe or not steps.safe:
        return ()
    wanted = np.linspace(0.0, 1.0, min(POINTS, steps.thresholds.size))
    kept = np.unique(np.searchsorted(steps.recall, wanted).clip(max=steps.thresholds.size - 1))
    pairs = zip(steps.recall[kept].tolist(), steps.precision[kept].tolist(), strict=True)
    return tuple(Point(recall, precision) for recall, precision in pairs)

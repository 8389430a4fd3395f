"""Does a score mean what it says: of the rows scored 0.8, are eight in ten unsafe?"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from balustrade.core.errors import DataError
from balustrade.evals.metrics import arrays


class Bin(Struct, frozen=True):
    """Rows whose score lies in [low, high), the last bin closed at 1."""

    low: float
    high: float
    rows: int
    score: float
    """Mean score of its rows."""
    unsafe: float
    """Share of its rows that are unsafe."""


class Reliability(Struct, frozen=True):
    """How far scores are from frequencies."""

    ece: float
    """Expected calibration error: the mean gap of the bins, weighted by their rows."""
    brier: float
    """Mean squared distance of score and label."""
    bins: tuple[Bin, ...]
    """The bins that hold rows."""


def reliability(labels: ArrayLike, scores: ArrayLike, *, bins: int = 10) -> Reliability | None:
    """Compare scores with frequencies in bins of equal width; None without rows.

    Raises:
        DataError: A score lies outside [0, 1].
    """
    truth, given = arrays(labels, scores)
    if not truth.size:
        return None
    if given.min() < 0.0 or given.max() > 1.0:
        raise DataError(f"expected scores in [0, 1], found {given.min()} to {given.max()}")
    slot = np.minimum((given * bins).astype(np.int64), bins - 1)
    rows = np.bincount(slot, minlength=bins)
    mean = np.bincount(slot, weights=given, minlength=bins) / np.maximum(rows, 1)
    unsafe = np.bincount(slot, weights=truth, minlength=bins) / np.maximum(rows, 1)
    ece = float(np.abs(mean - unsafe) @ rows) / truth.size
    brier = float(np.mean((given - truth) ** 2))
    held = tuple(
        Bin(i / bins, (i + 1) / bins, int(rows[i]), float(mean[i]), float(unsafe[i]))
        for i in range(bins)
        if rows[i]
    )
    return Reliability(ece, brier, held)

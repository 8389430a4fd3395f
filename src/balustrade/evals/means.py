"""Means and shares with percentile intervals, and the mean of differences row by row."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from balustrade.evals.bootstrap import BLOCK, Interval, spread

Floats = NDArray[np.float64]


class Mean(Struct, frozen=True):
    """A mean over rows; a share is the mean of zeros and ones."""

    value: float | None = None
    """None where there are no rows."""
    interval: Interval | None = None
    rows: int = 0


def mean(values: ArrayLike, *, samples: int = 1000, level: float = 0.95, seed: int = 0) -> Mean:
    """Return the mean of rows, and the interval of it over resampled rows.

    Given differences between two systems on the same rows, this is the paired bootstrap.
    """
    known = np.asarray(values, dtype=np.float64)
    if not known.size:
        return Mean()
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // known.size)
    resampled = [
        known[rng.integers(0, known.size, (min(block, samples - start), known.size))].mean(axis=1)
        for start in range(0, samples, block)
    ]
    return Mean(float(known.mean()), spread(np.concatenate(resampled), level), known.size)

"""Intervals of medians, and of macro-F1 for several guards on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from balustrade.evals.bootstrap import BLOCK, spread
from balustrade.evals.means import Mean, mean

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Resampling(Struct, frozen=True):
    """How intervals are made."""

    samples: int = 1000
    seed: int = 0

    def mean(self, values: ArrayLike) -> Mean:
        """Return a mean with its interval."""
        return mean(values, samples=self.samples, seed=self.seed)

    def median(self, values: ArrayLike) -> Mean:
        """Return a median with its interval."""
        known = np.asarray(values, dtype=np.float64)
        if not known.size:
            return Mean()
        rng = np.random.default_rng(self.seed)
        block = max(1, BLOCK // known.size)
        drawn = [
            np.median(known[rng.integers(0, known.size, (rows, known.size))], axis=1)
            for start in range(0, self.samples, block)
            if (rows := min(block, self.samples - start))
        ]
        return Mean(float(np.median(known)), spread(np.concatenate(drawn)), known.size)


class Paired(Struct, frozen=True):
    """Macro-F1 of each guard, and by how much it differs from that of the first."""

    macro_f1: tuple[Mean, ...]
    difference: tuple[Mean, ...]


def macro_f1(unsafe: Flags, flags: Sequence[Flags], how: Resampling) -> Paired:
    """Return macro-F1 of guards that judged the same rows, each resample on the same rows for all.

    Macro-F1 is the mean of two F1, that of harmful and that of harmless rows. Rows are resampled
    harmful and harmless apart. Rows on which all guards agree alike are exchangeable, so it is
    how many of each pattern that is drawn.

    Args:
        unsafe: True where a row is harmful, shape (rows,).
        flags: For each guard, True where it stopped the row, shape (rows,).
        how: How intervals are made.

    Returns:
        Figures without a value if the rows are of one kind.
    """
    if unsafe.all() or not unsafe.any():
        return Paired((Mean(),) * len(flags), (Mean(),) * len(flags))
    said = np.column_stack(flags).astype(np.int64)
    bad, good = said[unsafe], said[~unsafe]
    rng = np.random.default_rng(how.seed)
    real = _macro(bad.sum(axis=0)[None], good.sum(axis=0)[None], unsafe)
    drawn = _macro(_drawn(rng, bad, how.samples), _drawn(rng, good, how.samples), unsafe)
    return Paired(_means(real, drawn, unsafe.size), _means(_less(real), _less(drawn), unsafe.size))


def _drawn(rng: np.random.Generator, said: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
    """Return how many rows of one kind each guard flags in each resample, (samples, guards)."""
    patterns, counts = np.unique(said, axis=0, return_counts=True)
    drawn: NDArray[np.int64] = rng.multinomial(len(said), counts / len(said), samples) @ patterns
    return drawn


def _macro(hits: NDArray[np.int64], alarms: NDArray[np.int64], unsafe: Flags) -> Floats:
    """Return macro-F1 from flagged harmful and harmless rows, each (samples, guards)."""
    bad = int(unsafe.sum())
    good = unsafe.size - bad
    passes, misses = good - alarms, bad - hits
    found: Floats = hits / (bad + hits + alarms) + passes / (good + passes + misses)
    return found


def _less(values: Floats) -> Floats:
    return values - values[:, :1]


def _means(real: Floats, drawn: Floats, rows: int) -> tuple[Mean, ...]:
    return tuple(
        Mean(float(value), spread(column), rows)
        for value, column in zip(real[0], drawn.T, strict=True)
    )

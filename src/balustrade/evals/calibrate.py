"""Make scores mean what they say: temperature, Platt and isotonic calibration, thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balustrade.core.errors import DataError

Floats = NDArray[np.float64]

_STEPS = 100
_RIDGE = 1e-9
_ENOUGH = 1e-10


class Platt(NamedTuple):
    """probability = sigmoid(slope * logit + offset)."""

    slope: float
    offset: float

    def __call__(self, logits: ArrayLike) -> Floats:
        """Return the calibrated probability of each logit."""
        return _sigmoid(np.asarray(logits, float) * self.slope + self.offset)


class Isotonic(NamedTuple):
    """A non-decreasing curve through `scores` and `probabilities`, flat outside them."""

    scores: Floats
    probabilities: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the calibrated probability of each score."""
        curve: Floats = np.interp(np.asarray(scores, float), self.scores, self.probabilities)
        return curve


def temperature(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return T > 0 for which sigmoid(logit / T) has the least log loss.

    The loss is convex in 1 / T, which Newton's method finds; a judge worse than chance has no
    such temperature, and gets a very large one.
    """
    values, truth, shares = _checked(logits, labels, weights)
    [inverse] = _newton(values[:, None], truth, shares)
    return 1.0 / max(inverse, 1e-6)


def platt(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Platt:
    """Return the slope and offset of least log loss, with Platt's softened targets.

    Targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2), so that separable data stay finite
    (Platt 1999). The slope is never negative: calibration keeps the order of scores.
    """
    values, truth, shares = _checked(logits, labels, weights)
    positives, negatives = float(truth.sum()), float((~truth).sum())
    soft = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([values, np.ones_like(values)])
    slope, offset = _newton(design, soft, shares)
    if slope > 0:
        return Platt(slope, offset)
    base = float(np.average(soft, weights=shares))
    return Platt(0.0, math.log(base / (1 - base)))


def isotonic(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Isotonic:
    """Return the non-decreasing curve of least squared error (pool adjacent violators)."""
    values, truth, shares = _checked(scores, labels, weights)
    points, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, shares)
    mean = np.bincount(place, shares * truth) / mass
    pools: list[list[float]] = []
    for value, weight in zip(mean.tolist(), mass.tolist(), strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            value_last, weight_last, size_last = pools.pop()
            pool = pools[-1]
            total = pool[1] + weight_last
            pool[0] = (pool[0] * pool[1] + value_last * weight_last) / total
            pool[1], pool[2] = total, pool[2] + size_last
    heights = np.repeat([pool[0] for pool in pools], [int(pool[2]) for pool in pools])
    return Isotonic(points, np.clip(heights, 0.0, 1.0))


def promises(rates: Iterable[float], threshold: Callable[[float], float]) -> dict[str, float]:
    """Return the thresholds of the rates that any can keep, by rate.

    One at which nothing is ever flagged is none: whoever asked for that rate should be told.
    """
    found = {str(rate): threshold(rate) for rate in rates}
    return {rate: limit for rate, limit in found.items() if limit < 1.0}


def strictest(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return thresholds that keep a promise for texts of several kinds, by rate.

    Args:
        found: The thresholds for each kind. A rate that one of them cannot promise is left out.
    """
    kept = set[str].intersection(*map(set, found))
    return {rate: max(each[rate] for each in found) for rate in found[0] if rate in kept}


def promised(thresholds: Mapping[str, float], aim: float) -> float:
    """Return the threshold of the lowest rate that is not under the aim; 1 if there is none."""
    able = sorted((float(rate), limit) for rate, limit in thresholds.items() if float(rate) >= aim)
    return able[0][1] if able else 1.0


def threshold_at(
    harmless: ArrayLike, false_alarms: float, weights: ArrayLike | None = None
) -> float:
    """Return the score at or above which to flag, to flag at most this share of harmless texts.

    Conservative in finite samples: of n + 1 exchangeable scores, the new one lies above the k-th
    largest known with probability at most k / (n + 1), and k = floor(rate * (n + 1)). With too
    few scores to promise the rate, the answer is infinite: nothing is flagged.

    With weights the promise is for texts drawn as the weights would have it (Tibshirani et al.
    2019, arXiv 1904.06019); the new text counts as the heaviest.

    Args:
        harmless: Scores of texts that must not be flagged.
        false_alarms: The share, in (0, 1).
        weights: How much each counts, positive; all alike if absent.
    """
    scores = np.sort(np.asarray(harmless, float))[::-1]
    if not 0.0 < false_alarms < 1.0:
        raise DataError(f"expected a false-alarm rate between 0 and 1, found {false_alarms}")
    if weights is not None:
        order = np.argsort(-np.asarray(harmless, float), kind="stable")
        shares = np.asarray(weights, float)[order]
        heaviest = shares.max(initial=0.0)
        # Flagging what lies above the k-th largest flags k - 1 of these, and perhaps the new one.
        above = np.cumsum(shares) - shares + heaviest
        kept = int((above <= false_alarms * (shares.sum() + heaviest)).sum())
        return float(np.nextafter(scores[kept - 1], np.inf)) if kept else math.inf
    allowed = math.floor(false_alarms * (len(scores) + 1))
    if allowed == 0:
        return math.inf
    return float(np.nextafter(scores[min(allowed, len(scores)) - 1], np.inf))


def _checked(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    values, truth = np.asarray(scores, float), np.asarray(labels, bool)
    shares = np.ones_like(values) if weights is None else np.asarray(weights, float)
    if not values.shape == truth.shape == shares.shape or values.ndim != 1 or not len(values):
        raise DataError(
            "expected as many scores as labels and weights, at least one, "
            f"found {values.shape}, {truth.shape} and {shares.shape}"
        )
    return values, truth, shares


def _newton(design: Floats, targets: ArrayLike, shares: Floats) -> list[float]:
    """Fit weighted logistic regression by damped Newton steps from zero."""
    wanted = np.asarray(targets, float)
    solution = np.zeros(design.shape[1])
    loss = _loss(design @ solution, wanted, shares)
    for _step in range(_STEPS):
        chance = _sigmoid(design @ solution)
        gradient = design.T @ (shares * (chance - wanted))
        curvature = (design * (shares * chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(curvature + _RIDGE * np.eye(len(solution)), gradient)
        pace, found = 1.0, loss
        while pace > _ENOUGH:
            found = _loss(design @ (solution - pace * step), wanted, shares)
            if found <= loss:
                break
            pace /= 2
        solution = solution - pace * step
        if loss - found <= _ENOUGH * abs(loss):
            break
        loss = found
    return [float(value) for value in solution]


def _loss(logits: Floats, targets: Floats, shares: Floats) -> float:
    return float(shares @ (np.logaddexp(0.0, logits) - targets * logits))


def _sigmoid(logits: Floats) -> Floats:
    tilted = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, tilted) / (1.0 + tilted)

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.evals.calibrate import isotonic, platt, temperature, threshold_at

scores = st.lists(st.floats(-5, 5), min_size=1, max_size=60)


def drawn(slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 50_000)
    return logits, rng.random(50_000) < 1 / (1 + np.exp(-(slope * logits + offset)))


def test_platt_recovers_the_curve_that_made_the_labels() -> None:
    curve = platt(*drawn(0.7, -1.2))
    assert curve.slope == pytest.approx(0.7, abs=0.03)
    assert curve.offset == pytest.approx(-1.2, abs=0.03)


def test_platt_stays_finite_where_the_classes_are_apart() -> None:
    curve = platt([-2, -1, 1, 2], [False, False, True, True])
    assert math.isfinite(curve.slope)
    assert 0 < curve(-2.0) < 0.5 < curve(2.0) < 1


def test_platt_never_turns_the_order_round() -> None:
    curve = platt([1, 2, 3, 4], [True, True, False, False])
    assert curve.slope == 0
    assert curve(1.0) == pytest.approx(0.5)


def test_weights_count_as_copies() -> None:
    weighted = temperature([1, 2, -1, 3], [1, 1, 1, 0], [2, 1, 1, 1])
    copied = temperature([1, 1, 2, -1, 3], [1, 1, 1, 1, 0])
    assert weighted == pytest.approx(copied)


def test_temperature_recovers_the_scale_of_logits() -> None:
    assert temperature(*drawn(0.5, 0.0)) == pytest.approx(2.0, rel=0.05)


@given(scores)
def test_isotonic_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    labels = [value > 0 for value in values]
    labels[0] = not labels[0]
    curve = isotonic(values, labels)
    assert (np.diff(curve.probabilities) >= 0).all()
    assert curve(values).mean() == pytest.approx(np.mean(labels))


@settings(max_examples=200)
@given(scores, st.floats(0.001, 0.9))
def test_no_more_harmless_texts_are_flagged_than_allowed(values: list[float], rate: float) -> None:
    threshold = threshold_at(values, rate)
    flagged = sum(value >= threshold for value in values)
    assert flagged <= rate * (len(values) + 1)


def test_a_new_harmless_text_keeps_the_promise_on_average() -> None:
    rng = np.random.default_rng(3)
    rates = [float(rng.normal() >= threshold_at(rng.normal(size=39), 0.05)) for _ in range(20_000)]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)


def test_too_few_texts_promise_nothing() -> None:
    assert threshold_at([0.1, 0.2], 0.02) == math.inf
    with pytest.raises(DataError, match="between 0 and 1, found 2"):
        threshold_at([0.1], 2)


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="as many scores as labels"):
        platt([1.0, 2.0], [True])


def test_equal_weights_change_no_threshold() -> None:
    scores = np.random.default_rng(3).random(500)
    for rate in (0.01, 0.05, 0.1):
        assert threshold_at(scores, rate, np.full(500, 2.5)) == threshold_at(scores, rate)
    assert threshold_at(scores[:5], 0.01, np.ones(5)) == math.inf


def test_a_small_source_that_runs_high_counts_as_its_weight_says() -> None:
    draw = np.random.default_rng(5)
    easy, hard = draw.random(2000), 1 + draw.random(100)
    scores = np.concatenate([easy, hard])
    weights = np.concatenate([np.full(2000, 1 / 2000), np.full(100, 1 / 100)])
    plain, weighed = threshold_at(scores, 0.1), threshold_at(scores, 0.1, weights)
    assert (hard >= plain).mean() > 0.9
    assert (hard >= weighed).mean() == pytest.approx(0.2, abs=0.03)

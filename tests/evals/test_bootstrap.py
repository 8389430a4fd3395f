"""Intervals: seeded, ordered, and as wide as theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.evals.bootstrap import Interval, Intervals, at_threshold, of_average_precision
from balustrade.evals.metrics import Counts, average_precision


def scored(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.4
    scores = np.round(1 / (1 + np.exp(-rng.normal(labels * 1.5, 1.0))), 2)
    return labels, scores


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    labels, scores = scored(300, 1)
    first = of_average_precision(labels, scores, seed=3)
    assert first == of_average_precision(labels, scores, seed=3)
    assert first != of_average_precision(labels, scores, seed=4)


def test_vectorised_resampling_agrees_with_resampling_one_by_one() -> None:
    labels, scores = scored(200, 2)
    unsafe, safe = np.flatnonzero(labels), np.flatnonzero(~labels)
    rng = np.random.default_rng(9)
    values = []
    for _ in range(3000):
        picked = np.concatenate([rng.choice(unsafe, unsafe.size), rng.choice(safe, safe.size)])
        values.append(average_precision(labels[picked], scores[picked]))
    low, high = np.percentile(np.array(values, dtype=float), (2.5, 97.5))
    found = of_average_precision(labels, scores, samples=3000, seed=1)
    assert found is not None
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_the_interval_lies_around_the_figure() -> None:
    labels, scores = scored(400, 3)
    found = of_average_precision(labels, scores, samples=500)
    assert found is not None
    middle = average_precision(labels, scores)
    assert middle is not None
    assert found.low < middle < found.high


def test_more_rows_narrow_the_interval() -> None:
    few = of_average_precision(*scored(100, 4))
    many = of_average_precision(*scored(10_000, 4))
    assert few is not None
    assert many is not None
    assert many.high - many.low < (few.high - few.low) / 3


def test_an_interval_at_a_threshold_is_that_of_a_share() -> None:
    seen = Counts(hits=800, misses=200, false_alarms=50, passes=950)
    found = at_threshold(seen, samples=4000)
    assert found.recall is not None
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert found.recall.low == pytest.approx(0.8 - half, abs=0.004)
    assert found.recall.high == pytest.approx(0.8 + half, abs=0.004)


@settings(max_examples=50)
@given(*(st.integers(0, 50) for _ in range(4)))
def test_figures_that_exist_lie_in_their_intervals_and_others_have_none(
    hits: int, misses: int, alarms: int, passes: int
) -> None:
    seen = Counts(hits, misses, alarms, passes)
    found = at_threshold(seen, samples=200, level=1.0)
    pairs = [
        (seen.recall, found.recall),
        (seen.false_alarm_rate, found.false_alarm_rate),
    ]
    for value, interval in pairs:
        assert (value is None) == (interval is None)
        if value is not None and interval is not None:
            assert interval.low <= value <= interval.high


def test_rows_of_one_class_have_no_interval_of_auprc() -> None:
    assert of_average_precision([True, True], [0.1, 0.2]) is None
    assert at_threshold(Counts()) == Intervals()


def test_a_ranking_without_a_fault_has_an_interval_of_no_width() -> None:
    assert of_average_precision([True] * 5 + [False] * 5, [0.9] * 5 + [0.1] * 5) == Interval(1, 1)

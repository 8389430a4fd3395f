"""The figures against their definitions, computed another way."""

from __future__ import annotations

from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.evals.metrics import (
    Counts,
    auroc,
    average_precision,
    best_f1,
    counts,
    curve,
    recall_at,
)

ties = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])
rows = st.lists(st.tuples(st.booleans(), ties), min_size=1, max_size=30)
both = rows.filter(lambda pairs: len({label for label, _ in pairs}) == 2)


def split(pairs: list[tuple[bool, float]]) -> tuple[list[bool], list[float]]:
    return [label for label, _ in pairs], [score for _, score in pairs]


@given(both)
def test_auprc_is_precision_at_each_threshold_weighted_by_the_recall_it_adds(
    pairs: list[tuple[bool, float]],
) -> None:
    labels, scores = split(pairs)
    area, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        flagged = [label for label, score in pairs if score >= threshold]
        area += (sum(flagged) - before) / sum(labels) * sum(flagged) / len(flagged)
        before = sum(flagged)
    found = average_precision(labels, scores)
    assert found is not None
    assert isclose(found, area, abs_tol=1e-12)


@given(both)
def test_auroc_is_the_chance_to_rank_an_unsafe_row_higher(
    pairs: list[tuple[bool, float]],
) -> None:
    labels, scores = split(pairs)
    duels = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for unsafe, high in pairs
        for other, low in pairs
        if unsafe and not other
    ]
    found = auroc(labels, scores)
    assert found is not None
    assert isclose(found, sum(duels) / len(duels), abs_tol=1e-12)


@given(st.integers(1, 40), st.integers(1, 40))
def test_auprc_of_a_guard_that_cannot_tell_is_the_share_of_unsafe_rows(
    unsafe: int, safe: int
) -> None:
    labels = [True] * unsafe + [False] * safe
    found = average_precision(labels, [0.3] * (unsafe + safe))
    assert found is not None
    assert isclose(found, unsafe / (unsafe + safe), abs_tol=1e-12)


@given(st.integers(1, 30), st.integers(1, 30))
def test_auprc_of_the_worst_ranking_has_its_closed_form(unsafe: int, safe: int) -> None:
    labels = [False] * safe + [True] * unsafe
    scores = np.linspace(1.0, 0.0, safe + unsafe)
    found = average_precision(labels, scores)
    expected = sum(k / (safe + k) for k in range(1, unsafe + 1)) / unsafe
    assert found is not None
    assert isclose(found, expected, abs_tol=1e-12)


@given(both)
def test_ranking_figures_depend_on_order_alone(pairs: list[tuple[bool, float]]) -> None:
    labels, scores = split(pairs)
    distinct = sorted(set(scores))
    stretched = [float(distinct.index(score)) * 7.0 - 3.0 for score in scores]
    assert average_precision(labels, scores) == average_precision(labels, stretched)
    assert auroc(labels, scores) == auroc(labels, stretched)
    assert recall_at(labels, scores, 0.2) == recall_at(labels, stretched, 0.2)


@given(both, st.floats(0.0, 1.0))
def test_recall_at_a_rate_is_the_best_any_threshold_gives_within_it(
    pairs: list[tuple[bool, float]], rate: float
) -> None:
    labels, scores = split(pairs)
    seen = [counts(labels, [s >= t for s in scores]) for t in {*scores, 2.0}]
    within = [
        c.hits / (c.hits + c.misses)
        for c in seen
        if c.false_alarms <= rate * (c.false_alarms + c.passes)
    ]
    assert recall_at(labels, scores, rate) == max(within)


@given(both)
def test_best_f1_is_the_best_of_all_thresholds_and_is_reached_at_its_own(
    pairs: list[tuple[bool, float]],
) -> None:
    labels, scores = split(pairs)
    best = best_f1(labels, scores)
    every = [counts(labels, [s >= t for s in scores]).f1 or 0.0 for t in set(scores)]
    assert best is not None
    assert isclose(best.f1, max(every), abs_tol=1e-12)
    at_own = counts(labels, [s >= best.threshold for s in scores]).f1
    assert at_own is not None
    assert isclose(at_own, best.f1, abs_tol=1e-12)


@given(both)
def test_the_curve_counts_what_each_threshold_flags(pairs: list[tuple[bool, float]]) -> None:
    labels, scores = split(pairs)
    steps = curve(labels, scores)
    for at, hits, alarms in zip(steps.thresholds, steps.hits, steps.false_alarms, strict=True):
        seen = counts(labels, [score >= at for score in scores])
        assert (seen.hits, seen.false_alarms) == (hits, alarms)
    assert list(steps.thresholds) == sorted(set(scores), reverse=True)


def test_counts_give_the_figures_of_the_textbook() -> None:
    seen = Counts(hits=6, misses=2, false_alarms=1, passes=11)
    assert seen.recall == 6 / 8
    assert seen.precision == 6 / 7
    assert seen.false_alarm_rate == 1 / 12
    assert seen.f1 == 12 / 15


@pytest.mark.parametrize("label", [True, False])
def test_rows_of_one_class_have_no_ranking_figures(label: bool) -> None:
    labels, scores = [label] * 3, [0.1, 0.2, 0.9]
    assert average_precision(labels, scores) is None
    assert auroc(labels, scores) is None
    assert recall_at(labels, scores, 0.05) is None
    assert best_f1(labels, scores) is None


def test_figures_without_their_rows_are_absent() -> None:
    only_safe = counts([False, False], [True, False])
    assert (only_safe.recall, only_safe.precision, only_safe.f1) == (None, None, None)
    assert only_safe.false_alarm_rate == 0.5
    only_unsafe = counts([True, True, True], [True, True, False])
    assert (only_unsafe.precision, only_unsafe.false_alarm_rate) == (None, None)
    assert only_unsafe.f1 == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))
    assert counts([], []) == Counts()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused_with_its_row(score: float) -> None:
    with pytest.raises(DataError, match="row 1: expected a finite score"):
        average_precision([True, False], [0.5, score])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="one score a label"):
        auroc([True, False], [0.5])
    with pytest.raises(DataError, match="one flag a label"):
        counts([True, False], [True])

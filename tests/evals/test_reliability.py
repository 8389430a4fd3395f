"""Calibration figures against their definitions."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.evals.reliability import reliability

rows = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), min_size=1, max_size=40)


@given(rows, st.integers(1, 12))
def test_ece_and_brier_are_their_definitions(pairs: list[tuple[bool, float]], bins: int) -> None:
    found = reliability([truth for truth, _ in pairs], [s for _, s in pairs], bins=bins)
    gaps = 0.0
    for number in range(bins):
        inside = [(t, s) for t, s in pairs if min(int(s * bins), bins - 1) == number]
        if inside:
            gaps += abs(sum(s for _, s in inside) - sum(t for t, _ in inside))
    assert found is not None
    assert isclose(found.ece, gaps / len(pairs), abs_tol=1e-12)
    assert isclose(found.brier, sum((s - t) ** 2 for t, s in pairs) / len(pairs), abs_tol=1e-12)
    assert sum(b.rows for b in found.bins) == len(pairs)


@given(st.integers(1, 9), st.integers(1, 5))
def test_a_guard_whose_scores_are_frequencies_has_no_calibration_error(
    tenths: int, repeats: int
) -> None:
    labels = ([True] * tenths + [False] * (10 - tenths)) * repeats
    found = reliability(labels, [tenths / 10] * len(labels))
    assert found is not None
    assert found.ece == pytest.approx(0.0, abs=1e-12)
    assert found.brier == pytest.approx(tenths / 10 * (1 - tenths / 10))


def test_a_guard_that_is_always_sure_and_wrong_has_the_largest_error() -> None:
    found = reliability([True, False], [0.0, 1.0])
    assert found is not None
    assert (found.ece, found.brier) == (1.0, 1.0)


def test_no_rows_no_figure() -> None:
    assert reliability([], []) is None


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match=r"scores in \[0, 1\]"):
        reliability([True], [1.5])

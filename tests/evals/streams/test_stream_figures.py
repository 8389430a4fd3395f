"""Figures of streams, against what a few rows come to by hand."""

from __future__ import annotations

import numpy as np
import pytest

from balustrade.evals.streams.answers import Answer
from balustrade.evals.streams.figures import leak, seen
from balustrade.evals.streams.resample import Resampling, macro_f1
from balustrade.evals.streams.watch import Outcome

HOW = Resampling(200)
ANSWERS = [
    Answer("a", "q", "one two three four bad six seven eight", True, onset=4),
    Answer("b", "q", "one bad bad bad", True, onset=1),
    Answer("c", "q", "one two", False),
]
OUTCOMES = [Outcome(8, 5, 4, stopped=True), Outcome(4, 4, 4), Outcome(2, 1, 0, stopped=True)]


def test_share_seen_is_of_harmful_answers_and_one_that_was_not_stopped_is_seen_whole() -> None:
    found = seen(ANSWERS, OUTCOMES, HOW)
    assert found.mean.value == found.median.value == pytest.approx((5 / 8 + 1) / 2)
    assert found.mean_stopped.value == found.median_stopped.value == 5 / 8
    assert (found.mean.rows, found.mean_stopped.rows) == (2, 1)


def test_harm_that_left_is_counted_from_the_onset() -> None:
    found = leak(ANSWERS, OUTCOMES, HOW)
    assert (found.mean.value, found.mean_stopped.value, found.early.value) == (1.5, 0.0, 0.0)
    early = leak(ANSWERS[:1], [Outcome(8, 4, 3, stopped=True)], HOW)
    assert (early.mean.value, early.early.value) == (0.0, 1.0)


def test_macro_f1_is_the_mean_of_both_kinds_and_differences_are_paired() -> None:
    unsafe = np.array([True, True, False, False] * 10)
    right = unsafe.copy()
    half = np.array([True, False, False, True] * 10)
    found = macro_f1(unsafe, [right, half, right], HOW)
    assert [each.value for each in found.macro_f1] == pytest.approx([1.0, 0.5, 1.0])
    assert [each.value for each in found.difference] == pytest.approx([0.0, -0.5, 0.0])
    same, worse = found.difference[2].interval, found.difference[1].interval
    assert same is not None
    assert worse is not None
    assert (same.low, same.high) == (0.0, 0.0)
    assert worse.low < -0.5 < worse.high < 0.0


def test_rows_of_one_kind_have_no_macro_f1() -> None:
    unsafe = np.array([True, True])
    assert macro_f1(unsafe, [unsafe], HOW).macro_f1[0].value is None

from __future__ import annotations

from math import comb
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.guards.delay import Delay, Leaky, Stopping, Tally, Window, run

scores = st.lists(st.floats(0, 1), max_size=60)
rules: list[Stopping] = [Delay(), Window(last=8), Leaky()]


def test_hits_count_together_not_in_a_row() -> None:
    apart = [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9]
    assert run(Delay(k=4), apart).stopped == 7
    assert run(Window(k=4, last=4), apart).stopped == -1
    assert run(Window(k=4, last=8), apart).stopped == 7
    assert run(Leaky(k=4, leak=0.1), apart).stopped == -1
    assert run(Leaky(k=3, leak=0.1), [0.9] * 9).stopped == 3


@given(scores, st.integers(1, 6), st.floats(0, 1))
def test_a_larger_k_stops_fewer_streams_and_later(found: list[float], k: int, bar: float) -> None:
    for few, many in (
        (Delay(bar, k), Delay(bar, k + 1)),
        (Window(bar, k, 9), Window(bar, k + 1, 9)),
        (Leaky(bar, k), Leaky(bar, k + 1)),
    ):
        early, late = run(few, found).stopped, run(many, found).stopped
        if late >= 0:
            assert 0 <= early <= late


@given(scores, st.integers(1, 6), st.integers(1, 60))
def test_a_window_is_counted_as_by_hand_and_stops_no_more_than_all(
    found: list[float], k: int, last: int
) -> None:
    wanted = next(
        (
            n
            for n, score in enumerate(found)
            if score >= 0.5 and sum(s >= 0.5 for s in found[max(0, n - last + 1) : n + 1]) >= k
        ),
        -1,
    )
    assert run(Window(0.5, k, last), found).stopped == wanted
    whole = run(Delay(0.5, k), found).stopped
    assert wanted == -1 or 0 <= whole <= wanted
    assert run(Window(0.5, k, 60), found).stopped == whole
    assert run(Leaky(0.5, k, 0.0), found).stopped == whole


@given(scores, st.sampled_from(rules), st.integers(0, 60))
def test_a_stream_can_be_taken_up_where_it_was_left_and_stays_stopped(
    found: list[float], rule: Stopping, cut: int
) -> None:
    tally = Tally()
    for score in found[:cut]:
        tally = rule.take(tally, score)
    for score in found[cut:]:
        tally = rule.take(tally, score)
    assert tally.stopped == run(rule, found).stopped
    if tally.stopped >= 0:
        assert rule.take(tally, 0.0) == tally
    assert len(tally.hits) <= 6


@pytest.mark.parametrize(
    ("length", "rate", "published"),
    [(1_000, 0.001, 0.019), (1_000, 0.003, 0.353), (1_000, 0.01, 0.990), (4_000, 0.001, 0.567)],
)
def test_long_harmless_answers_are_stopped_as_often_as_the_binomial_says(
    length: int, rate: float, published: float
) -> None:
    below = sum(comb(length, n) * rate**n * (1 - rate) ** (length - n) for n in range(4))
    assert 1 - below == pytest.approx(published, abs=0.002)
    rng, count = Random(5), 400
    streams = [[1.0 if rng.random() < rate else 0.0 for _ in range(length)] for _ in range(count)]
    share = sum(run(Delay(k=4), s).stopped >= 0 for s in streams) / count
    assert share == pytest.approx(1 - below, abs=4 * (0.25 / count) ** 0.5)
    for rule in (Window(k=4, last=64), Leaky(k=4, leak=0.05)):
        kept = sum(run(rule, s).stopped >= 0 for s in streams) / count
        assert kept <= 0.05 + (rate >= 0.01) * 0.2
        assert run(rule, [*streams[0], *[1.0] * 8]).stopped >= 0

from __future__ import annotations

import inspect
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from balustrade.core.errors import DataError
from balustrade.guards.delay import Delay, Leaky, Window, run
from balustrade.train.stopping import choose, grid, outcome, stopped_at


def streams(seed: int = 1, count: int = 200) -> tuple[list[NDArray[np.float64]], NDArray[np.bool_]]:
    """Harmful streams score high from some place on; benign ones now and then, by mistake."""
    rng = np.random.default_rng(seed)
    harmful = np.arange(count) % 2 == 0
    found = []
    for bad in harmful:
        scores = np.where(rng.random(100) < 0.01, 0.95, 0.1)
        if bad:
            onset = rng.integers(0, 60)
            scores[onset:] = rng.choice([0.2, 0.85], 100 - onset)
        found.append(scores)
    return found, harmful


@given(
    st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1), st.integers(1, 5), st.integers(1, 20)
)
def test_the_fast_count_is_the_rules_own(found: list[float], bar: float, k: int, last: int) -> None:
    for rule in (Delay(bar, k), Window(bar, k, last), Leaky(bar, k)):
        assert stopped_at(rule, np.array(found)) == run(rule, found).stopped


def test_a_rule_is_measured_as_by_hand() -> None:
    scores = [
        np.array([0.9, 0.1, 0.9, 0.9]),
        np.array([0.1, 0.9]),
        np.array([0.9]),
        np.array([0.2]),
    ]
    found = outcome(Delay(0.5, 2), scores, np.array([True, True, False, False]))
    assert found.false_stops == 0.0
    assert found.missed == 0.5
    assert found.seen == pytest.approx((3 / 4 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_more_hits_mean_fewer_false_stops_more_misses_and_later_ends() -> None:
    found = [outcome(Delay(0.5, k), *streams()) for k in range(1, 11)]
    for before, after in pairwise(found):
        assert after.false_stops <= before.false_stops
        assert after.missed >= before.missed
        assert after.seen >= before.seen


def test_the_choice_is_the_best_of_all_and_the_same_each_time() -> None:
    chosen = choose(*streams())
    assert chosen == choose(*streams())
    assert chosen.outcome.macro_f1 == max(outcome(r, *streams()).macro_f1 for r in grid())
    strict = choose(*streams(), false_stops=0.0)
    assert strict.outcome.false_stops == 0.0


def test_what_chooses_is_given_one_split_alone() -> None:
    names = set(inspect.signature(choose).parameters)
    assert names == {"streams", "harmful", "false_stops", "rules"}
    validation, test = streams(1), streams(2)
    assert choose(*validation).rule == choose(*streams(1)).rule
    held = outcome(choose(*validation).rule, *test)
    assert held.macro_f1 > 0.9


def test_one_kind_alone_or_an_impossible_rate_is_refused() -> None:
    found, harmful = streams()
    with pytest.raises(DataError, match="one kind alone"):
        choose(found, np.ones_like(harmful))
    with pytest.raises(DataError, match=r"no rule stops at most 0\.00%"):
        choose([np.ones(9)] * 2, np.array([True, False]), false_stops=0.0, rules=[Delay(0.5, 1)])

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from balustrade.evals.bootstrap import at_threshold
from balustrade.evals.means import Mean, mean
from balustrade.evals.metrics import Counts
from balustrade.evals.tax.gain import Gain, gain
from balustrade.rails.prime.notes import Route

ROUTES = list(Route)
NAMES = ("fixed-minimal", "fixed-potential", "fixed-direct")
WORTH = {True: (0.3, 0.8, 1.0), False: (1.0, 0.75, 0.0)}
"""Chance of worth 1 of each route, for harmful and harmless requests."""
KNOWS = {True: (0.1, 0.3, 0.6), False: (0.7, 0.2, 0.1)}
BLIND = dict.fromkeys((True, False), (0.4, 0.35, 0.25))


def simulated(
    table: Mapping[bool, tuple[float, ...]], seed: int, rows: int = 200
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_], list[Route]]:
    """Return worths, labels and routes of a guard that errs by a table."""
    rng = np.random.default_rng(seed)
    unsafe = np.arange(rows) % 3 == 0
    chances = np.array([WORTH[bool(each)] for each in unsafe])
    fixed = (rng.random((rows, 3)) < chances).astype(float)
    taken = [int(rng.choice(3, p=table[bool(each)])) for each in unsafe]
    worth = {name: fixed[:, place] for place, name in enumerate(NAMES)}
    worth["prime"] = fixed[np.arange(rows), taken]
    return worth, unsafe, [ROUTES[place] for place in taken]


def found(table: Mapping[bool, tuple[float, ...]], seed: int) -> Gain:
    made = gain(*simulated(table, seed), samples=200, seed=seed)
    assert made is not None
    return made


def covers(each: Mean) -> bool:
    assert each.interval is not None
    return each.interval.low <= 0.0 <= each.interval.high


def test_a_guard_that_draws_lots_gains_nothing() -> None:
    shuffled = [found(BLIND, seed) for seed in range(40)]
    assert sum(covers(each.over_mixture) for each in shuffled) >= 33
    assert np.mean([each.over_mixture.value or 0.0 for each in shuffled]) == pytest.approx(
        0.0, abs=0.015
    )
    assert all(each.over_best.interval and each.over_best.interval.low < 0 for each in shuffled)


def test_a_guard_that_knows_something_gains_and_shuffling_its_routes_ends_it() -> None:
    for seed in range(10):
        worth, unsafe, routes = simulated(KNOWS, seed)
        knows = gain(worth, unsafe, routes, samples=400)
        assert knows is not None
        assert knows.over_mixture.interval is not None
        assert knows.over_mixture.interval.low > 0
        order = np.random.default_rng(seed).permutation(len(routes))
        lots = [routes[place] for place in order]
        table = np.column_stack([worth[name] for name in NAMES])
        own = table[np.arange(len(lots)), [ROUTES.index(route) for route in lots]]
        shuffled = gain({**worth, "prime": own}, unsafe, lots, samples=400)
        assert shuffled is not None
        assert shuffled.over_mixture.value is not None
        assert knows.over_mixture.value is not None
        assert shuffled.over_mixture.value < knows.over_mixture.value / 2


def test_the_gain_is_worth_less_the_weighted_worth_of_the_routes() -> None:
    worth = {
        "prime": np.array([1.0, 0.0, 1.0, 0.5]),
        "fixed-minimal": np.array([0.0, 0.0, 1.0, 1.0]),
        "fixed-potential": np.array([1.0, 0.0, 0.5, 0.5]),
        "fixed-direct": np.array([1.0, 1.0, 0.0, 0.0]),
    }
    unsafe = np.array([True, True, False, False])
    routes = [Route.POTENTIAL, Route.MINIMAL, Route.MINIMAL, Route.POTENTIAL]
    made = gain(worth, unsafe, routes)
    assert made is not None
    mixture = 0.5 * (0.0 + 1.0) / 2 + 0.5 * (0.5 + 0.5) / 2
    assert made.over_mixture.value == pytest.approx((0.5 + 0.75) / 2 - mixture)
    assert made.best == "fixed-minimal"
    assert made.over_best.value == pytest.approx(0.125)
    unknown = {**worth, "fixed-direct": np.array([np.nan, 1.0, 0.0, np.nan])}
    fewer = gain(unknown, unsafe, routes)
    assert fewer is not None
    assert fewer.over_mixture.rows == 2
    assert gain(worth, unsafe, [None] * 4) is None


def test_the_interval_of_a_share_is_that_of_the_other_bootstrap() -> None:
    made = mean([1.0] * 30 + [0.0] * 70, samples=20_000)
    known = at_threshold(Counts(hits=30, misses=70), samples=20_000).recall
    assert made.interval is not None
    assert known is not None
    assert made.value == pytest.approx(0.3)
    assert made.rows == 100
    assert made.interval.low == pytest.approx(known.low, abs=0.011)
    assert made.interval.high == pytest.approx(known.high, abs=0.011)


def test_the_mean_of_nothing_is_absent() -> None:
    assert mean([]) == Mean(None, None, 0)


def test_differences_row_by_row_are_surer_than_two_means() -> None:
    rng = np.random.default_rng(0)
    hard = rng.integers(1, 5, 100).astype(float)
    paired = mean(hard + 1 - hard).interval
    alone = mean(hard).interval
    assert paired is not None
    assert alone is not None
    assert paired.high - paired.low == 0.0
    assert alone.high - alone.low > 0.2

"""Budgets: never more than their size at once, refilled steadily."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balustrade.gateway.limits import Bucket

steps = st.lists(
    st.tuples(st.floats(0, 300, allow_nan=False), st.integers(1, 5)), min_size=1, max_size=60
)


@given(st.integers(1, 1000), steps)
def test_in_any_minute_no_more_is_taken_than_two_sizes(
    size: int, events: list[tuple[float, int]]
) -> None:
    now = 0.0
    bucket = Bucket(size, now)
    taken: list[tuple[float, int]] = []
    for pause, amount in events:
        now += pause
        if bucket.left(now) >= amount:
            bucket.take(amount, now)
            taken.append((now, amount))
    for start, _ in taken:
        window = sum(amount for at, amount in taken if start <= at < start + 60)
        assert window <= 2 * size


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_after_the_wait_it_is_there(size: int, amount: int) -> None:
    bucket = Bucket(size, 0.0)
    bucket.take(size, 0.0)
    wait = bucket.wait(amount, 0.0)
    assert bucket.left(wait) >= min(amount, size) - 1e-6


def test_it_never_holds_more_than_its_size() -> None:
    assert Bucket(5, 0.0).left(1e9) == 5

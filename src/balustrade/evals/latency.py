"""The time a guard takes for one row alone, once it is warm."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from time import perf_counter_ns

import numpy as np
from msgspec import Struct

from balustrade.core.content import Content
from balustrade.evals.subject import Subject


class Latency(Struct, frozen=True):
    """Milliseconds for a single content, the driver's part included."""

    p50: float
    p99: float
    rows: int
    """How many were timed."""


def latency(
    subject: Subject,
    contents: Sequence[Content],
    *,
    sample: int = 200,
    seed: int = 0,
    budget_seconds: float = 10.0,
) -> Latency | None:
    """Time rows one by one; None without rows.

    Three are judged untimed first: weights are read and tables compiled by the first call.

    Args:
        subject: The guard.
        contents: What to draw from.
        sample: How many to time.
        seed: Which are drawn.
        budget_seconds: Time no further rows once so much time has gone; slow guards get fewer.
    """
    if not contents or sample < 1:
        return None
    drawn = Random(seed).sample(list(contents), min(sample, len(contents)))  # noqa: S311
    for content in drawn[:3]:
        subject.judge([content])
    times: list[int] = []
    deadline = perf_counter_ns() + int(budget_seconds * 1e9)
    for content in drawn:
        start = perf_counter_ns()
        subject.judge([content])
        end = perf_counter_ns()
        times.append(end - start)
        if end > deadline:
            break
    p50, p99 = np.percentile(np.array(times) / 1e6, (50, 99))
    return Latency(float(p50), float(p99), len(times))

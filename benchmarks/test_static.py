"""Speed of the static guard on one core: `OMP_NUM_THREADS=1 pytest benchmarks/test_static.py`."""

from __future__ import annotations

from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from balustrade.backends.static import Static
from balustrade.core.content import Content
from balustrade.flow.run import run
from balustrade.guards.classifier import Classifier
from balustrade.text.normalise import normalise

PROSE = (
    "how do the people of this small town make bread when flour and time are short and "
    "every kitchen has another oven what should one learn before buying tools from a shop"
)
MODEL = Static()


def texts(count: int) -> list[str]:
    """Return different texts of 30 words, about 150 characters."""
    rng = Random(1)
    return [" ".join(rng.choices(PROSE.split(), k=30)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 64, 256])
def test_normalise_and_score(benchmark: BenchmarkFixture, count: int) -> None:
    batch = texts(count)
    benchmark(lambda: MODEL.scores([normalise(text).text for text in batch]))


@pytest.mark.parametrize("count", [1, 64])
def test_guard(benchmark: BenchmarkFixture, count: int) -> None:
    guard, batch = Classifier(), [Content.of(text) for text in texts(count)]
    benchmark(lambda: run(guard.check(batch), MODEL.send))

"""Speed of the patterns guard, all kinds: `pytest benchmarks/test_patterns.py`.

As a script it prints a table of medians and of hostile inputs.
"""

from __future__ import annotations

from random import Random
from statistics import median
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from balustrade.backends import local
from balustrade.core.content import Content
from balustrade.core.errors import BalustradeError
from balustrade.flow.run import run
from balustrade.guards.patterns import Patterns

GUARD = Patterns()
TEXTS = {
    "clean prose": "It was a bright day in April, and the clocks were striking thirteen. " * 8,
    "dates and numbers": (
        "The order of 2024-05-06 10:30 has 12 items at 13.50 EUR each; version 1.2.3, page 14. "
    )
    * 7,
    "one mail, one card": (
        "Please write to ann.smith@example.org about card 4111 1111 1111 1111. "
        + "We will answer as soon as we can, which may take some days in the spring. " * 7
    ),
    "Chinese prose": "这是一个普通的句子，没有什么特别之处。" * 30,
}
RANDOM = Random(1)
HOSTILE = {
    "prose": TEXTS["clean prose"] * 1800,
    "dates and numbers": TEXTS["dates and numbers"] * 1800,
    "digits": "1" * 10**6,
    "@": "@" * 10**6,
    "a@": "a@" * 500_000,
    "base64": "".join(RANDOM.choices("ABCDEFabcdef0123456789+/", k=10**6)),
    "random digits": "".join(RANDOM.choices("0123456789 -.", k=10**6)),
    "random ASCII": "".join(RANDOM.choices([chr(n) for n in range(32, 127)], k=10**6)),
    "dots": "1." * 500_000,
    "password=": "password=" * 110_000,
    "zero width": "a\u200b" * 500_000,
}


def check(text: str) -> None:
    run(GUARD.check([Content.of(text)]), local.send)


@pytest.mark.parametrize("name", TEXTS)
def test_500_characters(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(check, TEXTS[name][:500])


@pytest.mark.parametrize("name", ["prose", "dates and numbers"])
def test_a_megabyte(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(check, HOSTILE[name][:1_000_000])


def seconds(text: str) -> float:
    """Return how long one check takes, whether the text is judged or refused."""
    start = perf_counter()
    try:
        check(text)
    except BalustradeError:
        return perf_counter() - start
    return perf_counter() - start


def main() -> None:
    check("warm up ａ")
    print("| 500 characters | p50 µs | p99 µs |\n| --- | --- | --- |")
    for name, text in TEXTS.items():
        times = sorted(seconds(text[:500]) for _ in range(3000))
        print(f"| {name} | {median(times) * 1e6:.1f} | {times[2970] * 1e6:.1f} |")
    print("\n| a million characters | ms | MB/s |\n| --- | --- | --- |")
    for name, text in HOSTILE.items():
        size, best = len(text.encode()) / 1e6, min(seconds(text) for _ in range(3))
        print(f"| {name} | {best * 1e3:.1f} | {size / best:.0f} |")


if __name__ == "__main__":
    main()

"""What a rail costs beyond its guards' own work: three guards that do nothing, fourteen rules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from balustrade.backends import local
from balustrade.core.call import Flow, compute
from balustrade.core.content import Content
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.run import run
from balustrade.guards.keywords import Keywords
from balustrade.policy.model import Policy, Rule
from balustrade.rails.rail import Rail


class Fixed(Spec, frozen=True):
    """A guard whose own work is nothing: each content has the same finding."""

    name: str
    judges: frozenset[str] = TEXT
    latency: Latency = Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        return compute(self._judge, batch, work=len(batch))

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [Verdict(self.name, (Finding("c1", 0.4),)) for _ in batch]


# As the guards of the package are driven: directly, not through `offload`.
Fixed.__module__ = Keywords.__module__
RULES = tuple(Rule(f"r{n}", f"c{n}", threshold=0.5) for n in range(14))
RAIL = Rail([Fixed(f"g{n}") for n in range(3)], Policy("p", RULES, revision="r"))


@pytest.mark.parametrize("size", [1, 64, 256])
def test_rail_overhead(benchmark: object, size: int) -> None:
    batch = [Content.of("hello")] * size
    decisions = benchmark(lambda: run(RAIL.check(batch), local.send))  # type: ignore[operator]
    assert len(decisions) == size


def test_conversation_of_80_turns(benchmark: object) -> None:
    history = tuple(Content.of(f"turn {n}") for n in range(80))
    batch = [Content.of("hello", history=history)]
    benchmark(lambda: run(RAIL.check(batch), local.send))  # type: ignore[operator]


def test_conversation_of_one_turn(benchmark: object) -> None:
    batch = [Content.of("hello", history=(Content.of("turn"),))]
    benchmark(lambda: run(RAIL.check(batch), local.send))  # type: ignore[operator]

"""A guard of one's own: shouting, reported with its place, judged by a policy that names it.

python examples/own_guard.py
"""

from __future__ import annotations

from collections.abc import Sequence

from balustrade import Content, Finding, Span, Verdict
from balustrade.backends import local
from balustrade.core.call import Flow, compute
from balustrade.core.content import words
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Count, Spec
from balustrade.flow.run import run
from balustrade.policy.load import loads
from balustrade.rails.build import build

POLICY = """
name = "quiet"

[[stage.input.guards]]
use = "__main__:Shouting"
letters = 12

[[stage.input.rules]]
name = "no-shouting"
category = "shouting"
action = "flag"
"""


class Shouting(Spec, frozen=True):
    """Report parts written in capitals.

    Fails: never.
    """

    letters: Count = 8
    """Shorter parts are let be."""

    name: str = "shouting"

    @property
    def judges(self) -> frozenset[str]:
        """Text and the arguments of tool calls."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """It only looks at letters."""
        return Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge each content."""
        return compute(self._judge, batch, work=sum(len(content.text) for content in batch))

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [Verdict(self.name, self._findings(content)) for content in batch]

    def _findings(self, content: Content) -> tuple[Finding, ...]:
        return tuple(
            Finding("shouting", 1.0, Span(number, 0, len(text)))
            for number, text in enumerate(map(words, content.parts))
            if text.isupper() and len(text) >= self.letters
        )


if __name__ == "__main__":
    rail = build(loads(POLICY)).input
    texts = ["Could you help me?", "WHY DOES NOTHING WORK"]
    for decision in run(rail.check([Content.of(text) for text in texts]), local.send):
        print(decision.action.word, [f.category for v in decision.verdicts for f in v.findings])

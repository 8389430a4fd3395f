from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from balustrade.backends import local
from balustrade.core.call import Flow, compute
from balustrade.core.content import Content, Image, Text
from balustrade.core.decision import Action
from balustrade.core.errors import PolicyError
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.limit import deadline
from balustrade.flow.run import arun, run
from balustrade.guards.keywords import Keywords
from balustrade.policy.model import OnError, Policy, Rule
from balustrade.rails.rail import Rail

BLOCK_SECRETS = Policy("p", (Rule("no-secrets", "secret"),))
SECRETS = Keywords(words=("password",), category="secret", name="secrets")


class Faulty(Spec, frozen=True):
    """A guard from elsewhere that misbehaves on one word."""

    fault: str
    name: str = "faulty"

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    @property
    def latency(self) -> Latency:
        return Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        bad = any("poison" in content.text for content in batch)
        if bad and self.fault == "raises":
            raise RuntimeError("the text is poison")
        if bad and self.fault == "sleeps":
            time.sleep(0.7)
        if bad and self.fault == "computes":
            yield from compute(time.sleep, 0.7)
        if bad and self.fault == "too few":
            return []
        if bad and self.fault == "not verdicts":
            return ["fine"] * len(batch)  # type: ignore[list-item]  # the fault under test
        if bad and self.fault == "not numbers":
            return [Verdict(self.name, (Finding("secret", float("nan")),))] * len(batch)
        return [Verdict(self.name)] * len(batch)


def test_a_rail_blocks_what_its_rules_block() -> None:
    rail = Rail((SECRETS,), BLOCK_SECRETS)
    allowed, blocked = run(
        rail.check([Content.of("hello"), Content.of("my password is here")]), local.send
    )
    assert (allowed.action, blocked.action) == (Action.ALLOW, Action.BLOCK)
    assert blocked.rule == "no-secrets"
    assert blocked.stage == "input"


@pytest.mark.parametrize("fault", ["raises", "too few", "not verdicts", "not numbers"])
def test_r16_a_guard_that_breaks_fails_closed_alone_and_named(fault: str) -> None:
    rail = Rail((SECRETS, Faulty(fault)), BLOCK_SECRETS)
    batch = [Content.of(text) for text in ("fine", "poison", "also fine")]
    decisions = run(rail.check(batch), local.send)
    assert [d.action for d in decisions] == [Action.ALLOW, Action.BLOCK, Action.ALLOW]
    assert decisions[1].rule == "on_error"
    assert decisions[1].failed == ("faulty",)
    assert decisions[1].verdicts[0] == Verdict("secrets")
    assert "poison" not in decisions[1].verdicts[1].error


@pytest.mark.parametrize("fault", ["sleeps", "computes"])
def test_r16_a_guard_that_hangs_fails_closed_and_does_not_hold_up_the_loop(fault: str) -> None:
    async def scene() -> tuple[list[Action], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.ensure_future(tick())
        backend = local.Local()
        send = deadline(backend.asend, 0.2)
        rail = Rail((SECRETS, Faulty(fault)), BLOCK_SECRETS)
        decisions = await arun(rail.check([Content.of("poison")]), send)
        ticking.cancel()
        backend.close()
        assert "did not answer within 0.2 s" in decisions[0].verdicts[1].error
        return [d.action for d in decisions], ticks

    actions, ticks = asyncio.run(scene())
    assert actions == [Action.BLOCK]
    assert ticks > 5


def test_r16_the_policy_may_forgive_a_failure_and_the_decision_says_so() -> None:
    forgiving = Policy("p", BLOCK_SECRETS.rules, OnError.ALLOW)
    [decision] = run(
        Rail((SECRETS, Faulty("raises")), forgiving).check([Content.of("poison")]), local.send
    )
    assert decision.action is Action.ALLOW
    assert decision.failed == ("faulty",)


def test_r4_what_no_guard_judges_is_said_and_never_passed_off_as_judged() -> None:
    content = Content((Text("hello"), Image(url="https://example.org/a.png")))
    [decision] = run(Rail((SECRETS,), BLOCK_SECRETS).check([content]), local.send)
    assert (decision.action, decision.unjudged) == (Action.ALLOW, (1,))


def test_r4_a_policy_that_demands_judgement_is_closed_by_default() -> None:
    demanding = Policy("p", demands=frozenset({"image"}))
    content = Content((Text("hello"), Image(url="https://example.org/a.png")))
    [decision] = run(Rail((SECRETS,), demanding).check([content]), local.send)
    assert (decision.action, decision.rule) == (Action.BLOCK, "on_unjudged")


def test_a_rail_without_guards_judges_nothing_and_says_so() -> None:
    [decision] = run(Rail((), Policy("p")).check([Content.of("x")]), local.send)
    assert (decision.action, decision.unjudged, decision.verdicts) == (Action.ALLOW, (0,), ())


def test_two_guards_of_one_name_are_refused() -> None:
    with pytest.raises(PolicyError, match="2 guards named 'secrets'"):
        Rail((SECRETS, SECRETS), BLOCK_SECRETS)


def test_an_empty_batch_asks_nobody() -> None:
    assert run(Rail((SECRETS,), BLOCK_SECRETS).check([]), local.send) == []


def test_a_rule_that_redacts_takes_out_the_span_and_lets_the_rest_go_on() -> None:
    policy = Policy("p", (Rule("mask", "secret", "redact"),))
    [decision] = run(Rail((SECRETS,), policy).check([Content.of("the password is x")]), local.send)
    assert decision.action is Action.REDACT
    assert decision.content.text == "the [SECRET] is x"
    assert [mask.span for mask in decision.masks] == [Span(0, 4, 12)]


class Suspicious(Spec, frozen=True):
    """A guard that finds something but cannot say where."""

    name: str = "suspicious"
    judges: frozenset[str] = TEXT
    latency: Latency = Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        yield from compute(len, batch, work=1)
        return [Verdict(self.name, (Finding("secret", 0.9),))] * len(batch)


def test_redacting_a_finding_without_a_place_takes_out_all_text() -> None:
    policy = Policy("p", (Rule("mask", "secret", "redact"),))
    [decision] = run(Rail((Suspicious(),), policy).check([Content.of("a b c")]), local.send)
    assert decision.content.text == "[SECRET]"


def test_r1_a_rail_states_the_latency_class_of_its_slowest_guard() -> None:
    assert Rail((SECRETS,), BLOCK_SECRETS).latency is Latency.MICROSECONDS
    assert Rail((), BLOCK_SECRETS).latency is Latency.MICROSECONDS

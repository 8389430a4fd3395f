"""The laws of `decide`: pure, monotone in evidence, indifferent to order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.content import Content
from balustrade.core.decision import Action
from balustrade.core.verdict import Finding, Severity, Verdict
from balustrade.policy.model import ACTION_OF, OnError, Policy, Rule

categories = st.sampled_from(["a", "b", "c", "none"])
scores = st.floats(0, 1)
findings = st.builds(
    Finding, categories, scores, st.none(), st.none() | st.sampled_from(list(Severity))
)
verdicts = st.builds(
    Verdict,
    st.sampled_from(["g", "h"]),
    st.lists(findings, max_size=3).map(tuple),
    st.sampled_from(["", "", "broke"]),
)
rules = st.lists(
    st.builds(
        Rule,
        name=st.text("xyz", min_size=1, max_size=3),
        category=st.sampled_from(["a", "b", "c", "*"]),
        action=st.sampled_from(sorted(ACTION_OF)),
        threshold=st.none() | scores,
        severity=st.none() | st.sampled_from(["minor", "moderate", "severe"]),
        guard=st.sampled_from(["", "g"]),
        shadow=st.booleans(),
    ),
    max_size=6,
).map(tuple)
policies = st.builds(
    Policy, st.just("p"), rules, st.sampled_from(list(OnError)), st.sampled_from(sorted(ACTION_OF))
)
CONTENT = Content.of("x")


@given(policies, st.lists(verdicts, max_size=4), st.data())
def test_more_evidence_never_lowers_the_action(
    policy: Policy, known: list[Verdict], data: st.DataObject
) -> None:
    before = policy.decide(CONTENT, known)
    if not known:
        return
    slot = data.draw(st.integers(0, len(known) - 1))
    more = data.draw(findings)
    grown = list(known)
    grown[slot] = Verdict(known[slot].guard, (*known[slot].findings, more), known[slot].error)
    assert policy.decide(CONTENT, grown).action >= before.action


@given(policies, st.lists(verdicts, max_size=4))
def test_one_more_guard_never_lowers_the_action_unless_errors_are_forgiven(
    policy: Policy, known: list[Verdict]
) -> None:
    if policy.on_error is OnError.DEGRADE:
        return
    before = policy.decide(CONTENT, known)
    grown = [*known, Verdict("h", (Finding("a", 1.0),))]
    assert policy.decide(CONTENT, grown).action >= before.action


@given(policies, st.lists(verdicts, max_size=4), st.randoms())
def test_neither_the_order_of_verdicts_nor_of_rules_matters(
    policy: Policy, known: list[Verdict], chance: random.Random
) -> None:
    shuffled = list(known)
    chance.shuffle(shuffled)
    shuffled_rules = list(policy.rules)
    chance.shuffle(shuffled_rules)
    other = Policy(policy.name, tuple(shuffled_rules), policy.on_error, policy.on_unjudged)
    one, two = policy.decide(CONTENT, known), other.decide(CONTENT, shuffled)
    assert (one.action, one.rule) == (two.action, two.rule)


@given(policies, st.lists(verdicts, max_size=4))
def test_the_action_is_the_gravest_of_the_rules_that_fire(
    policy: Policy, known: list[Verdict]
) -> None:
    sound = [Verdict(v.guard, v.findings) for v in known]
    fired = [each.rule.effect for each in policy.fired(sound)]
    assert policy.decide(CONTENT, sound).action == max(fired, default=Action.ALLOW)


def test_a_guard_that_cannot_judge_blocks_unless_the_policy_forgives() -> None:
    known = [Verdict("g", error="broke"), Verdict("h")]
    outcome = {mode: Policy("p", on_error=mode).decide(CONTENT, known).action for mode in OnError}
    assert outcome == {
        OnError.BLOCK: Action.BLOCK,
        OnError.ALLOW: Action.ALLOW,
        OnError.DEGRADE: Action.ALLOW,
    }


def test_degrading_still_blocks_when_nobody_could_judge() -> None:
    decision = Policy("p", on_error=OnError.DEGRADE).decide(CONTENT, [Verdict("g", error="x")])
    assert (decision.action, decision.rule) == (Action.BLOCK, "on_error")


def test_a_shadow_rule_is_reported_but_stops_nothing() -> None:
    rule = Rule("watch", "a", "block", shadow=True)
    decision = Policy("p", (rule,)).decide(CONTENT, [Verdict("g", (Finding("a", 1.0),))])
    assert (decision.action, decision.rule) == (Action.FLAG, "watch")


@given(policies, findings, st.sampled_from(list(Severity)))
def test_a_graver_finding_never_leads_to_less(
    policy: Policy, found: Finding, severity: Severity
) -> None:
    def action(grade: Severity | None) -> Action:
        graded = Finding(found.category, found.score, severity=grade)
        return policy.decide(CONTENT, [Verdict("g", (graded,))]).action

    milder = [grade for grade in Severity if grade <= severity]
    assert all(action(grade) <= action(severity) for grade in milder)
    assert action(None) >= action(severity)


def test_each_severity_has_its_own_action_and_an_ungraded_finding_counts_as_severe() -> None:
    rules = (
        Rule("severe", "a", "block", severity="severe"),
        Rule("moderate", "a", "regenerate", severity="moderate"),
        Rule("minor", "a", "flag", severity="minor"),
    )
    policy = Policy("p", rules)
    actions = {
        grade: policy.decide(CONTENT, [Verdict("g", (Finding("a", 0.9, severity=grade),))]).action
        for grade in (*Severity, None)
    }
    assert actions == {
        Severity.MINOR: Action.FLAG,
        Severity.MODERATE: Action.REGENERATE,
        Severity.SEVERE: Action.BLOCK,
        None: Action.BLOCK,
    }

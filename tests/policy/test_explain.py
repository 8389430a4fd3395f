"""Why a decision came about, in sentences that never quote what was judged."""

from __future__ import annotations

from balustrade.core.content import Content, Image
from balustrade.core.verdict import Finding, Severity, Verdict
from balustrade.policy.explain import explain, problems
from balustrade.policy.model import OnError, Policy, Rule

RULES = (
    Rule("no-a", "a", "block", 0.8),
    Rule("watch-a", "a", "flag", 0.2, shadow=True),
    Rule("grave-b", "b", "escalate", 0.1, severity="severe"),
)
TEXT = Content.of("the words that were judged")


def reasons(policy: Policy, *verdicts: Verdict, content: Content = TEXT) -> list[str]:
    decision = policy.decide(content, verdicts, frozenset({"text"}))
    return explain(policy, decision)


def test_the_rule_that_fired_comes_first_then_its_evidence() -> None:
    verdict = Verdict(
        "g", (Finding("c", 0.99), Finding("b", 0.5, None, Severity.MINOR), Finding("a", 0.9))
    )
    assert reasons(Policy("p", RULES), verdict) == [
        "block: rule 'no-a' fired",
        "guard 'g' found a at 0.900; rule 'no-a' asks for 0.800 or more: block; "
        "rule 'watch-a' asks for 0.200 or more: flag, but it is a shadow",
        "guard 'g' found b at 0.500; rule 'grave-b' fires only from severity 'severe'",
        "1 more finding that no rule asks for",
    ]


def test_what_would_have_changed_the_decision_is_said() -> None:
    [outcome, evidence] = reasons(Policy("p", RULES[:1]), Verdict("g", (Finding("a", 0.7),)))
    assert outcome == "allow: no rule fired"
    assert evidence == "guard 'g' found a at 0.700; rule 'no-a' would fire from 0.800"


def test_r16_a_guard_that_could_not_judge_is_named_with_its_reason() -> None:
    assert reasons(Policy("p"), Verdict("g", error="timed out"), Verdict("h")) == [
        "block: 'g' could not judge, and on_error is 'block'",
        "guard 'g' could not judge: timed out",
    ]


def test_r16_a_policy_that_degrades_says_so_when_nobody_could_judge() -> None:
    policy = Policy("p", on_error=OnError.DEGRADE)
    assert reasons(policy, Verdict("g", error="x"))[0] == (
        "block: 'g' could not judge, and on_error is 'degrade'"
    )


def test_r4_a_part_that_nobody_judged_is_said_though_it_was_let_by() -> None:
    content = Content((Image("https://example.org/a.png"),))
    assert reasons(Policy("p"), content=content) == [
        "allow: no rule fired",
        "part 0 was not judged by any guard",
    ]


def test_a_demand_nobody_met_is_the_reason() -> None:
    policy = Policy("p", demands=frozenset({"image"}))
    decision = policy.decide(Content((Image("https://example.org/a.png"),)), (), frozenset())
    assert explain(policy, decision) == ["block: no guard judges part 0, and the policy demands it"]
    assert problems(decision) == []


def test_a_rule_of_another_guard_is_not_held_against_a_finding() -> None:
    policy = Policy("p", (Rule("only-h", "a", guard="h"),))
    assert reasons(policy, Verdict("g", (Finding("a", 1.0),))) == [
        "allow: no rule fired",
        "1 more finding that no rule asks for",
    ]


def test_no_reason_quotes_the_content() -> None:
    verdict = Verdict("g", (Finding("a", 0.9, note="a word of the list"),), error="broke")
    assert TEXT.text not in " ".join(reasons(Policy("p", RULES), verdict))

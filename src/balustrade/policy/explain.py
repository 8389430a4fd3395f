"""Why a policy decided as it did, in sentences for a person."""

from __future__ import annotations

from collections.abc import Iterator

from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Finding
from balustrade.policy.model import Policy, Rule


def explain(policy: Policy, decision: Decision) -> list[str]:
    """Return the reasons, most important first: what fired, what failed, what would change it.

    Never quotes what was judged, so it may be shown and logged.
    """
    return [*_outcome(policy, decision), *problems(decision), *_evidence(policy, decision)]


def problems(decision: Decision) -> list[str]:
    """Return what could not be judged, whether or not the policy minds."""
    found = [
        f"guard {verdict.guard!r} could not judge: {verdict.error}"
        for verdict in decision.verdicts
        if verdict.error
    ]
    if decision.unjudged and decision.rule != "on_unjudged":
        found.append(f"part {_numbers(decision)} was not judged by any guard")
    return found


def _outcome(policy: Policy, decision: Decision) -> Iterator[str]:
    word = decision.action.word
    if decision.rule == "on_error":
        guards = _names(decision.failed)
        yield f"{word}: {guards} could not judge, and on_error is {policy.on_error.value!r}"
    elif decision.rule == "on_unjudged":
        yield f"{word}: no guard judges part {_numbers(decision)}, and the policy demands it"
    elif decision.rule:
        yield f"{word}: rule {decision.rule!r} fired"
    else:
        yield "allow: no rule fired"


def _evidence(policy: Policy, decision: Decision) -> Iterator[str]:
    """Say of each finding what its rules made of it: what fired first, then the surest."""
    pairs = [(verdict.guard, each) for verdict in decision.verdicts for each in verdict.findings]
    unasked = 0
    for guard, finding in sorted(pairs, key=lambda pair: _weight(policy, *pair)):
        rules = [
            rule
            for rule in policy.rules_for(finding.category)
            if not rule.guard or rule.guard == guard
        ]
        if not rules:
            unasked += 1
            continue
        said = f"guard {guard!r} found {finding.category} at {finding.score:.3f}"
        note = f" ({finding.note})" if finding.note else ""
        reasons = [_comparison(rule, finding.score, rule.fires(guard, finding)) for rule in rules]
        yield f"{said}{note}; {'; '.join(reasons)}"
    if unasked:
        yield f"{unasked} more finding{'s' * (unasked > 1)} that no rule asks for"


def _weight(policy: Policy, guard: str, finding: Finding) -> tuple[int, float]:
    effects = [
        rule.effect for rule in policy.rules_for(finding.category) if rule.fires(guard, finding)
    ]
    return -max(effects, default=Action.ALLOW), -finding.score


def _comparison(rule: Rule, score: float, fired: bool) -> str:
    if fired:
        return f"rule {rule.name!r} asks for {rule.limit:.3f} or more: {_effect(rule)}"
    if score < rule.limit:
        return f"rule {rule.name!r} would fire from {rule.limit:.3f}"
    return f"rule {rule.name!r} fires only from severity {rule.severity!r}"


def _effect(rule: Rule) -> str:
    return f"{rule.action}, but it is a shadow" if rule.shadow else rule.action


def _numbers(decision: Decision) -> str:
    return ", ".join(map(str, decision.unjudged))


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))

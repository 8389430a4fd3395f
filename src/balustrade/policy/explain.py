"""Why a policy decided as it did, in sentences for a person."""

from __future__ import annotations

from collections.abc import Iterator

from balustrade.core.decision import Action, Decision
from balustrade.policy.model import Policy, Rule


def explain(policy: Policy, decision: Decision) -> list[str]:
    """Return the reasons, most important first: what fired, what failed, what would change it.

    Never quotes what was judged, so it may be shown and logged.
    """
    return [*_outcome(decision), *_evidence(policy, decision), *_gaps(decision)]


def _outcome(decision: Decision) -> Iterator[str]:
    word = decision.action.word
    if decision.rule == "on_error":
        yield f"{word}: {_names(decision.failed)} could not judge, and on_error is 'block'"
    elif decision.rule == "on_unjudged":
        yield f"{word}: no guard judges part {_numbers(decision)}, and the policy demands it"
    elif decision.rule:
        yield f"{word}: rule {decision.rule!r} fired"
    elif decision.action is Action.ALLOW:
        yield "allow: no rule fired"


def _evidence(policy: Policy, decision: Decision) -> Iterator[str]:
    for verdict in decision.verdicts:
        for finding in verdict.findings:
            said = f"guard {verdict.guard!r} found {finding.category} at {finding.score:.3f}"
            if finding.note:
                said += f" ({finding.note})"
            reasons = [
                _comparison(rule, finding.score, rule.fires(verdict.guard, finding))
                for rule in policy.rules_for(finding.category)
                if not rule.guard or rule.guard == verdict.guard
            ]
            yield f"{said}; {'; '.join(reasons) if reasons else 'no rule asks for it'}"


def _comparison(rule: Rule, score: float, fired: bool) -> str:
    if fired:
        return f"rule {rule.name!r} asks for {rule.limit:.3f} or more: {rule.action}"
    if score < rule.limit:
        return f"rule {rule.name!r} would fire from {rule.limit:.3f}"
    return f"rule {rule.name!r} fires only from severity {rule.severity!r}"


def _gaps(decision: Decision) -> Iterator[str]:
    for verdict in decision.verdicts:
        if verdict.error:
            yield f"guard {verdict.guard!r} could not judge: {verdict.error}"
    if decision.unjudged and decision.rule != "on_unjudged":
        yield f"part {_numbers(decision)} was not judged by any guard"


def _numbers(decision: Decision) -> str:
    return ", ".join(map(str, decision.unjudged))


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))

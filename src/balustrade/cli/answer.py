"""A decision as the commands write it: one fixed form, for programs."""

from __future__ import annotations

from typing import Any

from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Finding

STOPPED = 2
"""Exit code where content was stopped."""


def answer(decision: Decision, number: str) -> dict[str, Any]:
    """Return the form that scripts may rely on.

    Args:
        decision: What was decided.
        number: The decision's ID.
    """
    return {
        "action": decision.action.word,
        "flagged": decision.flagged,
        "findings": findings(decision),
        "policy": decision.revision,
        "decision": number,
    }


def findings(decision: Decision) -> list[dict[str, Any]]:
    """Return every finding of every guard, the surest first."""
    found = [finding for verdict in decision.verdicts for finding in verdict.findings]
    return [_finding(each) for each in sorted(found, key=lambda each: -each.score)]


def exit_code(action: Action) -> int:
    """Return 0 where the content may go on, masked or not, and 2 where it is stopped."""
    return STOPPED if action.stops else 0


def _finding(finding: Finding) -> dict[str, Any]:
    span = finding.span
    return {
        "category": finding.category,
        "score": round(finding.score, 6),
        "severity": finding.severity.name.lower() if finding.severity else None,
        "span": [span.start, span.end] if span else None,
        "note": finding.note,
    }

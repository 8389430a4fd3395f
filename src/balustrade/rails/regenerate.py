"""Draft, judge, say what was wrong, draft again: for at most N rounds.

The loop of Beaver-Guard-V (Safe RLHF-V, arXiv 2503.17682, which takes five rounds). What the model
is told names categories and how severe they were, never the words that were found, so that
neither a log nor a later draft can repeat them. A draft that is blocked or escalated ends the loop:
only what the policy calls `regenerate` is worth another try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from balustrade.core.call import Flow
from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Severity
from balustrade.policy.model import Policy
from balustrade.rails.pipeline import Outcome

T = TypeVar("T")


class Complaint(Struct, frozen=True):
    """What was wrong with a draft."""

    category: str
    severity: Severity | None = None


class Regenerated(Struct, frozen=True):
    """How a loop ended."""

    outcomes: tuple[Outcome, ...]
    """Of each draft, the last one's last."""

    @property
    def passed(self) -> bool:
        """Whether the last draft may go on."""
        return not self.outcomes[-1].stops

    @property
    def rounds(self) -> int:
        """How many drafts there were."""
        return len(self.outcomes)


def wants_another(outcome: Outcome) -> bool:
    """Whether a draft is to be written anew: something asks for it, and nothing asks for more."""
    gravest = outcome.gravest
    return gravest is not None and gravest.action is Action.REGENERATE


def complaints(decisions: Sequence[tuple[Policy, Decision]]) -> tuple[Complaint, ...]:
    """Return what made rules of `regenerate` fire, the most severe first, each category once."""
    worst: dict[str, Severity | None] = {}
    for policy, decision in decisions:
        for fired in policy.fired(decision.verdicts):
            if fired.rule.effect is not Action.REGENERATE:
                continue
            category, severity = fired.finding.category, fired.finding.severity
            if category not in worst or _rank(severity) > _rank(worst[category]):
                worst[category] = severity
    ranked = sorted(worst.items(), key=lambda item: (-_rank(item[1]), item[0]))
    return tuple(Complaint(category, severity) for category, severity in ranked)


def feedback(found: Sequence[Complaint]) -> str:
    """Return what the model is told before it drafts again."""
    return (
        f"A draft of your answer was held back, and nobody has seen it: {_named(found)}. "
        "Answer the last message again without that. If no such answer is possible, decline "
        "politely and say what you can help with instead. Do not mention the draft or this note."
    )


def onward(found: Sequence[Complaint]) -> str:
    """Return what the model is told before it goes on from the sentences that were sent."""
    return (
        "The beginning of your answer, as it stands above, was sent. What came after it was held "
        f"back, and nobody has seen it: {_named(found)}. Go on right where it ends, without that, "
        "and repeat nothing of it. If there is no such way to go on, end the answer politely. "
        "Do not mention what was held back or this note."
    )


def regenerate(
    draft: Callable[[str], Flow[T]],
    judge: Callable[[T], Flow[tuple[Outcome, tuple[Complaint, ...]]]],
    rounds: int,
) -> Flow[tuple[T | None, Regenerated]]:
    """Draft until an answer passes; return it, or None if none did.

    Args:
        draft: Writes an answer; is told what was wrong with the last one, nothing at first.
        judge: Says what follows from a draft, and what was wrong with it.
        rounds: How many drafts there may be.

    Raises:
        ValueError: `rounds` is less than one.
    """
    if rounds < 1:
        raise ValueError(f"expected rounds >= 1, found {rounds}")
    outcomes: list[Outcome] = []
    told = ""
    while True:
        written = yield from draft(told)
        outcome, found = yield from judge(written)
        outcomes.append(outcome)
        if not outcome.stops:
            return written, Regenerated(tuple(outcomes))
        if len(outcomes) >= rounds or not wants_another(outcome):
            return None, Regenerated(tuple(outcomes))
        told = feedback(found)


def _named(found: Sequence[Complaint]) -> str:
    named = ", ".join(
        f"{each.category} ({each.severity.name.lower()})"
        if each.severity is not None
        else each.category
        for each in found
    )
    return named or "unsafe"


def _rank(severity: Severity | None) -> int:
    return -1 if severity is None else int(severity)

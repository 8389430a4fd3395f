"""Guards under one policy at one stage."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from balustrade.core.call import Flow
from balustrade.core.content import Content, Stage, Text
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import GuardError, PolicyError
from balustrade.core.guard import Guard, Latency
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.gather import gather
from balustrade.flow.isolate import isolate
from balustrade.guards.foreign import safe_check
from balustrade.policy.model import Policy
from balustrade.policy.redact import Mark, redact
from balustrade.policy.vault import Vault


class Rail:
    """Judge contents with every guard, decide by the policy, and redact where it says so.

    Holds no state of any request, so one rail serves any number of tasks, threads and loops.

    Args:
        guards: Each with a name of its own.
        policy: What follows from their verdicts.
        stage: Where the rail stands.

    Raises:
        PolicyError: Two guards have one name.
    """

    def __init__(self, guards: Sequence[Guard], policy: Policy, stage: Stage = Stage.INPUT) -> None:
        self.guards = tuple(guards)
        self.policy = policy
        self.stage = stage
        names = [guard.name for guard in self.guards]
        for name in names:
            if names.count(name) > 1:
                raise PolicyError(
                    f"stage {stage.value!r} has {names.count(name)} guards named {name!r}; "
                    "give each its own 'name'"
                )
        self.judges: frozenset[str] = frozenset().union(*(g.judges for g in self.guards))
        """Kinds of parts that some guard judges."""

    @property
    def latency(self) -> Latency:
        """The latency class: that of the slowest guard."""
        return max((guard.latency for guard in self.guards), default=Latency.MICROSECONDS)

    def check(
        self, batch: Sequence[Content], /, vault: Vault | None = None
    ) -> Flow[list[Decision]]:
        """Decide on each content, in order.

        A guard that fails on a content gives a verdict with an error for that content alone; the
        policy's `on_error` decides what follows.

        Args:
            batch: What to judge.
            vault: Where reversible redaction keeps the originals; one for all contents of a
                request, so that the same value gets the same placeholder throughout.
        """
        if not batch:
            return []
        columns = yield from gather([_verdicts(guard, batch) for guard in self.guards])
        verdicts = [
            column if isinstance(column, list) else [_broken(guard, column)] * len(batch)
            for guard, column in zip(self.guards, columns, strict=True)
        ]
        rows = zip(*verdicts, strict=True) if verdicts else ((),) * len(batch)
        return [self.decide(content, row, vault) for content, row in zip(batch, rows, strict=True)]

    def decide(
        self, content: Content, verdicts: Sequence[Verdict], vault: Vault | None = None
    ) -> Decision:
        """Decide on a content whose verdicts are known, and redact it where the policy says so."""
        decision = self.policy.decide(content, verdicts, self.judges, self.stage.value)
        if decision.action is not Action.REDACT:
            return decision
        return _redacted(self.policy, decision, vault)


def _verdicts(guard: Guard, batch: Sequence[Content]) -> Flow[list[Verdict]]:
    answers = yield from isolate(safe_check(guard), batch)
    return [answer if isinstance(answer, Verdict) else _broken(guard, answer) for answer in answers]


def _broken(guard: Guard, error: GuardError) -> Verdict:
    return Verdict(guard.name, error=str(error) or "failed")


def _redacted(policy: Policy, decision: Decision, vault: Vault | None) -> Decision:
    """Take out what rules with action `redact` name; a finding without a place takes all text."""
    marks = [
        mark
        for fired in policy.fired(decision.verdicts)
        if fired.rule.action == "redact" and not fired.rule.shadow
        for mark in _marks(fired.finding, decision.content)
    ]
    done = redact(decision.content, marks, policy.redaction, vault=vault)
    return replace(decision, content=done.content, masks=done.masks)


def _marks(finding: Finding, content: Content) -> list[Mark]:
    if finding.span is not None:
        return [Mark(finding.span, finding.category)]
    return [
        Mark(Span(number, 0, len(part.text)), finding.category)
        for number, part in enumerate(content.parts)
        if isinstance(part, Text) and part.text
    ]

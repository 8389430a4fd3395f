"""Rules over findings, and the decision they lead to: pure, monotone, indexed by category.

More evidence never lowers the action, and neither the order of verdicts nor that of rules of
equal weight changes it (tests/policy/test_laws.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from balustrade.core.content import Content, kind
from balustrade.core.decision import Action, Decision
from balustrade.core.spec import Positive, Probability, Spec
from balustrade.core.verdict import Finding, Severity, Span, Verdict

ActionName = Literal["allow", "flag", "redact", "regenerate", "escalate", "block"]
ACTION_OF: dict[str, Action] = {action.word: action for action in Action}
ANY = "*"


class OnError(StrEnum):
    """What follows when a guard could not judge."""

    BLOCK = "block"
    ALLOW = "allow"
    """Go on, marked as degraded, as if the guard had found nothing."""
    DEGRADE = "degrade"
    """Go on with what the other guards found; block only if no guard could judge."""


class Rule(Spec, frozen=True):
    """If a finding of `category` scores at least `threshold`, take `action`."""

    name: Annotated[str, Meta(min_length=1)]
    category: Annotated[str, Meta(min_length=1)]
    """A category, or '*' for any."""

    action: ActionName = "block"
    threshold: Probability | None = None
    """The score from which the rule fires; 0.5 if neither this nor `false_alarms` is given."""

    false_alarms: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    """Instead of a threshold: the share of harmless texts that may be stopped, for guards that
    carry a calibration table; resolved into a threshold when the policy is loaded."""

    severity: Literal["minor", "moderate", "severe"] | None = None
    """Fire only from this severity on; a finding that is not graded counts as grave enough."""

    guard: str = ""
    """Only findings of this guard count; empty for any guard's."""

    message: str = ""
    """What a refused person is told, instead of the policy's own message."""

    shadow: bool = False
    """Report in the decision's log what would have followed, but take no action above `flag`."""

    @property
    def effect(self) -> Action:
        """The action it leads to."""
        action = ACTION_OF[self.action]
        return min(action, Action.FLAG) if self.shadow else action

    @property
    def limit(self) -> float:
        """The score from which it fires."""
        return 0.5 if self.threshold is None else self.threshold

    def fires(self, guard: str, finding: Finding) -> bool:
        """Whether a finding of `guard` with this rule's category makes it fire."""
        return (
            finding.score >= self.limit
            and (not self.guard or self.guard == guard)
            and self._is_grave(finding.severity)
        )

    def _is_grave(self, severity: Severity | None) -> bool:
        if self.severity is None or severity is None:
            return True
        return severity >= Severity[self.severity.upper()]


class Policy(Struct, frozen=True):
    """The rules of one stage. `revision` names the file they came from."""

    name: str
    rules: tuple[Rule, ...] = ()
    on_error: OnError = OnError.BLOCK
    on_unjudged: ActionName = "block"
    """What follows for parts that no guard of the stage judges, if `demands` names their kind."""

    demands: frozenset[str] = frozenset({"text", "image", "video", "tool_call", "table"})
    """Kinds of parts that must be judged."""

    timeout: Positive = 10.0
    """Seconds each round of calls may take."""

    revision: str = ""

    def decide(
        self,
        content: Content,
        verdicts: Sequence[Verdict],
        judged: frozenset[str] | None = None,
        stage: str = "",
    ) -> Decision:
        """Return what follows from the verdicts; the content is passed on as it came.

        Args:
            content: What was judged.
            verdicts: What the guards reported, in any order.
            judged: Kinds of parts that some guard in force judges; None if all are.
            stage: Where it was judged, noted in the decision.
        """
        index = rule_index(self.rules)
        action, name = Action.ALLOW, ""
        failures = 0
        for verdict in verdicts:
            if verdict.error:
                failures += 1
            for finding in verdict.findings:
                for rule in index(finding.category):
                    effect = rule.effect
                    if (effect > action or (effect == action and rule.name < name)) and rule.fires(
                        verdict.guard, finding
                    ):
                        action, name = effect, rule.name
        if failures and self._errors_block(failures, len(verdicts)) and action < Action.BLOCK:
            action, name = Action.BLOCK, "on_error"
        unjudged: tuple[int, ...] = ()
        if judged is not None:
            unjudged = tuple(n for n, p in enumerate(content.parts) if kind(p) not in judged)
            if any(kind(content.parts[n]) in self.demands for n in unjudged):
                effect = ACTION_OF[self.on_unjudged]
                if effect > action:
                    action, name = effect, "on_unjudged"
        return Decision(
            action, content, tuple(verdicts), name, self.revision, unjudged, (), stage
        )

    def _errors_block(self, failures: int, guards: int) -> bool:
        if self.on_error is OnError.DEGRADE:
            return failures == guards
        return self.on_error is OnError.BLOCK

    def fired(self, verdicts: Iterable[Verdict]) -> list[tuple[Rule, str, Finding]]:
        """Return every rule that fires, with the guard and the finding that made it."""
        index = rule_index(self.rules)
        return [
            (rule, verdict.guard, finding)
            for verdict in verdicts
            for finding in verdict.findings
            for rule in index(finding.category)
            if rule.fires(verdict.guard, finding)
        ]

    def redactions(self, verdicts: Iterable[Verdict]) -> list[tuple[Span, str]]:
        """Return the spans, with categories, that rules with action `redact` want taken out."""
        return [
            (finding.span, finding.category)
            for rule, _, finding in self.fired(verdicts)
            if rule.action == "redact" and not rule.shadow and finding.span is not None
        ]

    def rule(self, name: str) -> Rule | None:
        """Return the rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)


@lru_cache(maxsize=512)
def rule_index(rules: tuple[Rule, ...]) -> Callable[[str], tuple[Rule, ...]]:
    """Return a look-up of the rules for a category: a table, as scanning costs ten times more."""
    wild = tuple(rule for rule in rules if rule.category == ANY)
    table: Mapping[str, tuple[Rule, ...]] = {
        category: tuple(rule for rule in rules if rule.category in {category, ANY})
        for category in {rule.category for rule in rules}
    }

    def rules_for(category: str) -> tuple[Rule, ...]:
        return table.get(category, wild)

    return rules_for

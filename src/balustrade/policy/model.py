"""Rules over findings, and the decision they lead to: pure, monotone, indexed by category.

More evidence never lowers the action, and neither the order of verdicts nor that of rules of
equal weight changes it (tests/policy/test_laws.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta, Struct

from balustrade.core.content import Content, kind
from balustrade.core.decision import Action, Decision
from balustrade.core.spec import Positive, Probability, Spec
from balustrade.core.verdict import Finding, Severity, Verdict

ActionName = Literal["allow", "flag", "redact", "regenerate", "escalate", "block"]
Redaction = Literal["mask", "drop", "reversible"]
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


class Policy(Struct, frozen=True, dict=True):
    """The rules of one stage. `revision` names the file they came from."""

    name: str
    rules: tuple[Rule, ...] = ()
    on_error: OnError = OnError.BLOCK
    on_unjudged: ActionName = "block"
    """What follows for parts that no guard of the stage judges, if `demands` names their kind."""

    demands: frozenset[str] = frozenset()
    """Kinds of parts that must be judged; others are let by, noted as unjudged."""

    redaction: Redaction = "mask"
    """What stands in the place of what is taken out."""

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
        action, name, failures = self._weigh(verdicts)
        if failures and action < Action.BLOCK and self._errors_block(failures, len(verdicts)):
            action, name = Action.BLOCK, "on_error"
        unjudged: tuple[int, ...] = ()
        if judged is not None:
            for number, part in enumerate(content.parts):
                if kind(part) not in judged:
                    unjudged += (number,)
            if unjudged:
                action, name = self._weigh_unjudged(content, unjudged, action, name)
        return Decision(action, content, tuple(verdicts), name, self.revision, unjudged, (), stage)

    def _weigh(self, verdicts: Sequence[Verdict]) -> tuple[Action, str, int]:
        """Return the gravest effect, the first by name of its rules, and how many guards failed."""
        action, name, failures = Action.ALLOW, "", 0
        index, other = self._index, self._wild
        for verdict in verdicts:
            if verdict.error:
                failures += 1
            for finding in verdict.findings:
                scale = index.get(finding.category, other)
                if finding.score < scale.lowest:
                    continue
                for rule, effect in scale.rules:
                    graver = effect > action or (effect == action and rule.name < name)
                    if graver and rule.fires(verdict.guard, finding):
                        action, name = effect, rule.name
        return action, name, failures

    def _weigh_unjudged(
        self, content: Content, unjudged: tuple[int, ...], action: Action, name: str
    ) -> tuple[Action, str]:
        effect = ACTION_OF[self.on_unjudged]
        if effect > action and any(kind(content.parts[n]) in self.demands for n in unjudged):
            return effect, "on_unjudged"
        return action, name

    def _errors_block(self, failures: int, guards: int) -> bool:
        if self.on_error is OnError.DEGRADE:
            return failures == guards
        return self.on_error is OnError.BLOCK

    def fired(self, verdicts: Iterable[Verdict]) -> list[Fired]:
        """Return every rule that fires, with the guard and the finding that made it."""
        return [
            Fired(rule, verdict.guard, finding)
            for verdict in verdicts
            for finding in verdict.findings
            for rule in self.rules_for(finding.category)
            if rule.fires(verdict.guard, finding)
        ]

    def rules_for(self, category: str) -> list[Rule]:
        """Return the rules that look at findings of a category."""
        return [rule for rule, _ in self._index.get(category, self._wild).rules]

    def rule(self, name: str) -> Rule | None:
        """Return the rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    @cached_property
    def _wild(self) -> _Scale:
        return _scale(rule for rule in self.rules if rule.category == ANY)

    @cached_property
    def _index(self) -> Mapping[str, _Scale]:
        # A table by category: scanning all rules for each finding costs ten times more.
        return {
            category: _scale(rule for rule in self.rules if rule.category in {category, ANY})
            for category in {rule.category for rule in self.rules}
        }


class _Scale(Struct, frozen=True):
    """The rules for one category with their effects, and the score below which none fires."""

    lowest: float
    rules: tuple[tuple[Rule, Action], ...]


def _scale(rules: Iterable[Rule]) -> _Scale:
    found = tuple((rule, rule.effect) for rule in rules)
    return _Scale(min((rule.limit for rule, _ in found), default=2.0), found)


class Fired(Struct, frozen=True):
    """A rule that fired, and what made it."""

    rule: Rule
    guard: str
    finding: Finding

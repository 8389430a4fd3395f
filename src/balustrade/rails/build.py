"""Make the rails of a policy document: guards built, thresholds resolved, everything checked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from balustrade.core.content import Stage
from balustrade.core.errors import BalustradeError, PolicyError
from balustrade.core.guard import Calibrated, Guard, Latency
from balustrade.guards.build import build as build_guard
from balustrade.policy.complaint import complaint
from balustrade.policy.document import Document
from balustrade.policy.model import Rule
from balustrade.rails.rail import Rail


class Rails(Struct, frozen=True):
    """One rail for each stage of a document; a stage the document leaves out has no guards."""

    document: Document
    revision: str
    input: Rail
    retrieval: Rail
    tool: Rail
    output: Rail

    def at(self, stage: Stage) -> Rail:
        """Return the rail of a stage."""
        rail: Rail = getattr(self, stage.value)
        return rail

    @property
    def latency(self) -> Latency:
        """The latency class of the slowest stage; a policy with a route asks a model."""
        if self.document.stage.route is not None:
            return Latency.MODEL
        return max(self.at(stage).latency for stage in Stage)


def build(document: Document, source: str = "", name: str = "policy") -> Rails:
    """Make all rails of a document.

    Args:
        document: The policy as loaded.
        source: The file's text, so that errors can name a line; may be empty.
        name: The file's name, for errors.

    Raises:
        PolicyError: A guard cannot be made, or a rule asks for a threshold nobody can give.
        MissingExtraError: A guard needs an extra that is not installed.
    """
    rails = {stage.value: _rail(document, stage, source, name) for stage in Stage}
    return Rails(document, document.revision, **rails)


def _rail(document: Document, stage: Stage, source: str, name: str) -> Rail:
    spec = document.stage.at(stage)
    guards = [
        _guard(options, f"$.stage.{stage.value}.guards[{number}]", source, name)
        for number, options in enumerate(spec.guards)
    ]
    rules = tuple(
        _resolved(rule, guards, f"{name}: stage.{stage.value}.rules[{number}]")
        for number, rule in enumerate(spec.rules)
    )
    return Rail(guards, document.policy(stage, rules), stage)


def _guard(options: dict[str, object], path: str, source: str, name: str) -> Guard:
    try:
        return build_guard(options)
    except msgspec.ValidationError as error:
        raise complaint(error, source, name, path) from error
    except PolicyError as error:
        raise type(error).__new__(type(error), f"{name}: {error}, at {path[2:]}") from error
    except BalustradeError:
        raise


def _resolved(rule: Rule, guards: Sequence[Guard], place: str) -> Rule:
    """Return the rule with its rate of false alarms turned into a threshold."""
    if rule.false_alarms is None:
        return rule
    limits = [
        limit
        for guard in guards
        if isinstance(guard, Calibrated) and (not rule.guard or rule.guard == guard.name)
        if (limit := guard.threshold_for(rule.category, rule.false_alarms)) is not None
    ]
    if not limits:
        raise PolicyError(
            f"{place} ({rule.name!r}) asks for false_alarms = {rule.false_alarms:g}, but no guard "
            f"of its stage is calibrated for {rule.category!r}; set a threshold instead"
        )
    return msgspec.structs.replace(rule, threshold=max(limits), false_alarms=None)

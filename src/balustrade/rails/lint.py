"""What is legal in a policy but seems not to be meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from balustrade.core.content import Role, Stage
from balustrade.core.guard import Guard, follows_streams
from balustrade.guards.classifier import HEADS, Classifier
from balustrade.guards.scm import Scm
from balustrade.policy.model import ANY, Rule
from balustrade.rails.build import Rails
from balustrade.rails.rail import Rail
from balustrade.shipped import described

SPEAKERS = {
    Stage.INPUT: (Role.USER, Role.SYSTEM),
    Stage.RETRIEVAL: (Role.DOCUMENT, Role.TOOL),
    Stage.TOOL: (Role.ASSISTANT,),
    Stage.OUTPUT: (Role.ASSISTANT,),
}
"""Who speaks at a stage."""


def lint(rails: Rails) -> list[str]:
    """Return one sentence for each thing that seems not to be meant, stage by stage."""
    found = [
        f"stage.{stage.value}: {sentence}" for stage in Stage for sentence in _stage(rails, stage)
    ]
    is_routed = rails.document.stage.route is not None
    if not is_routed and not any(rails.at(stage).guards for stage in Stage):
        found.append("no stage has guards, so everything is allowed")
    return found


def _stage(rails: Rails, stage: Stage) -> Iterator[str]:
    rail = rails.at(stage)
    yield from _demands(rail)
    if rail.policy.rules and not rail.guards:
        yield "has rules but no guards, so none can fire"
        return
    if rail.guards and not rail.policy.rules:
        yield "has guards but no rules, so nothing follows from what they find"
    yield from _twins(rail)
    for rule in rail.policy.rules:
        yield from _rule(rule, rail)
    if stage is Stage.OUTPUT:
        yield from _unstreamed(rail)


def _demands(rail: Rail) -> Iterator[str]:
    kinds = sorted(rail.policy.demands - rail.judges)
    if rail.guards and kinds and rail.policy.on_unjudged != "allow":
        yield (
            f"demands that every {' and '.join(kinds)} is judged, but no guard judges "
            f"{'one' if len(kinds) == 1 else 'them'}, so each leads to {rail.policy.on_unjudged}"
        )


def _twins(rail: Rail) -> Iterator[str]:
    for number, guard in enumerate(rail.guards):
        for other in rail.guards[number + 1 :]:
            if type(guard) is type(other) and _nameless(guard) == _nameless(other):
                yield f"guards {guard.name!r} and {other.name!r} are the same but for the name"


def _unstreamed(rail: Rail) -> Iterator[str]:
    """Name what stops a whole answer and would never stop a streamed one."""
    streamed = [guard for guard in rail.guards if follows_streams(guard)]
    rules = [rule for rule in rail.policy.rules if rule.effect.stops]
    seen = {rule.category for rule in rules if _reporting(rule, streamed, rail.stage)}
    for rule in rules:
        if rule.category not in seen and _reporting(rule, rail.guards, rail.stage):
            yield (
                f"rule {rule.name!r} stops no streamed answer: only guards with streamed = false "
                f"report {rule.category!r}"
            )


def _reporting(rule: Rule, guards: Sequence[Guard], stage: Stage) -> list[Guard]:
    """Return those of these guards that may report what a rule waits for."""
    return [
        guard
        for guard in guards
        if not rule.guard or guard.name == rule.guard
        if (known := _reports(guard, stage)) is None or rule.category in {ANY, *known}
    ]


def _nameless(guard: Guard) -> object:
    fields = getattr(guard, "__struct_fields__", None)
    if fields is None:
        return id(guard)
    return [getattr(guard, field) for field in fields if field != "name"]


def _rule(rule: Rule, rail: Rail) -> Iterator[str]:
    if rule.guard and rule.guard not in {guard.name for guard in rail.guards}:
        yield f"rule {rule.name!r} waits for guard {rule.guard!r}, which the stage does not have"
        return
    if rule.limit == 0.0:
        yield f"rule {rule.name!r} has threshold 0, so it fires on every finding"
    if rule.action == "allow":
        yield f"rule {rule.name!r} allows, which changes nothing: the gravest action wins"
    if rule.action == "regenerate" and rail.stage in {Stage.INPUT, Stage.RETRIEVAL}:
        yield (
            f"rule {rule.name!r} asks for another answer, of which there is none at this stage, "
            "so it stops like block"
        )
    reporting = _reporting(rule, rail.guards, rail.stage)
    monitors = [guard for guard in reporting if isinstance(guard, Scm)]
    if monitors and len(reporting) > len(monitors):
        yield (
            f"rule {rule.name!r} has one threshold for {monitors[0].name!r} and for guards that "
            "judge whole answers, whose scores differ; give each a rule with its 'guard'"
        )
    if not reporting:
        sources = [guard for guard in rail.guards if not rule.guard or guard.name == rule.guard]
        known = [_reports(guard, rail.stage) for guard in sources]
        reported = frozenset[str]().union(*filter(None, known))
        yield (
            f"rule {rule.name!r} waits for {rule.category!r}, which no guard reports here; "
            f"they report: {', '.join(sorted(reported)) or 'nothing'}"
        )


def _reports(guard: Guard, stage: Stage) -> frozenset[str] | None:
    """Return the categories that a guard can report at a stage; None if it does not say."""
    if isinstance(guard, Classifier):
        return _labels(guard, stage)
    found = getattr(guard, "categories", None) or getattr(guard, "category", None)
    if isinstance(found, str):
        return frozenset({found})
    return frozenset(found) if isinstance(found, tuple | frozenset) else None


def _labels(guard: Classifier, stage: Stage) -> frozenset[str] | None:
    if guard.heads:
        return frozenset(guard.heads)
    known = described(guard.model)
    if known is None:
        return None
    labels = frozenset(known.labels)
    return frozenset().union(*(labels & {*HEADS[role]} or labels for role in SPEAKERS[stage]))

"""Where each route leads: the one table that both the gateway and a library caller follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from balustrade.core.content import Content, Role
from balustrade.policy.route import RouteSpec
from balustrade.rails.prime.notes import Notes, Route
from balustrade.rails.prime.prompts import (
    Message,
    careful,
    helpful,
    numbered,
    opening,
    request_of,
)
from balustrade.text.quote import marked


class Branch(Struct, frozen=True):
    """What one route does."""

    asks: bool
    """Whether the main model is asked at all; if not, the refusal is a constant."""
    rules: bool = False
    """Whether the main model is told the restrictive guidelines."""
    weighs: bool = False
    """Whether it is to think again first, and answers with an object."""


BRANCHES = {
    Route.MINIMAL: Branch(asks=True),
    Route.POTENTIAL: Branch(asks=True, rules=True, weighs=True),
    Route.DIRECT: Branch(asks=False),
}


class Plan(Struct, frozen=True):
    """What is put around a conversation before the main model sees it."""

    branch: Branch
    opening: str = ""
    """A system message before it; empty for none."""
    closing: str = ""
    """A system message after it, which nobody else sees; empty for none."""


def plan(spec: RouteSpec, notes: Notes) -> Plan:
    """Return what the route asks for."""
    branch = BRANCHES[notes.route]
    if not branch.asks:
        return Plan(branch)
    closing = careful(spec, notes) if branch.weighs else helpful(notes.tip)
    return Plan(branch, opening(spec, rules=branch.rules), closing)


Form = Literal["hidden", "paper"]


def messages(
    spec: RouteSpec, notes: Notes, conversation: Sequence[Content], form: Form = "hidden"
) -> tuple[Message, ...]:
    """Return what the main model is asked.

    `hidden` keeps the conversation as it is, between an opening and a closing instruction. `paper`
    is the form of arXiv 2407.16318 for a single request: one message, or three of which the second
    puts the guard's notes into the assistant's mouth. What a stranger wrote stands between marks
    there.
    """
    known = plan(spec, notes)
    if not known.branch.asks:
        return ()
    if form == "paper":
        return _paper(spec, notes, known, request_of(conversation))
    before = [("system", known.opening)] if known.opening else []
    after = [("system", known.closing)] if known.closing else []
    return (*before, *said(conversation), *after)


def _paper(spec: RouteSpec, notes: Notes, known: Plan, request: str) -> tuple[Message, ...]:
    quoted = marked("request", request).text
    if not known.branch.weighs:
        lines = [*spec.directive, "Answer this request:", quoted, helpful(notes.tip)]
        return (("user", "\n".join(filter(None, lines))),)
    first = f"{numbered(spec.restrictive)}\n\n{quoted}\n\nHow do these guidelines bear on it?"
    second = f"Check: {notes.check}\nTip: {notes.tip}"
    return (("user", first), ("assistant", second), ("user", known.closing))


def said(conversation: Sequence[Content]) -> list[Message]:
    """Return a conversation as chat endpoints know it; tools and pages speak as the user there."""
    known = {Role.SYSTEM: "system", Role.ASSISTANT: "assistant"}
    return [(known.get(message.role, "user"), message.text) for message in conversation]

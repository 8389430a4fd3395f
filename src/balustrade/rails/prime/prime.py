"""The two passes of PrimeGuard as flows: route a request, answer it by its route.

Lu et al. 2024, arXiv 2407.16318. The same model may serve as guard and as main model, or two. A
route that cannot be had (no answer, no object, no known name, too late) is the careful one: neither
a refusal nor a free answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from balustrade.core.call import Chat, Flow, Spoken, unexpected
from balustrade.core.content import Content
from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Finding, Verdict
from balustrade.policy.document import REFUSAL
from balustrade.policy.model import OnError
from balustrade.policy.route import RouteSpec
from balustrade.rails.prime.branches import Form, messages, plan
from balustrade.rails.prime.cost import Cost, cost
from balustrade.rails.prime.notes import Notes, Route, answer_of, read
from balustrade.rails.prime.prompts import router

NAME = "prime"
ALTERNATIVES = 20
LONGEST = 1_024
"""Tokens of an answer of the main model, where nobody says otherwise."""

SCHEMA = msgspec.json.encode(
    {
        "type": "object",
        "properties": {
            "check": {"type": "string"},
            "route": {"type": "string", "enum": [route.value for route in Route]},
            "tip": {"type": "string"},
        },
        "required": ["check", "route", "tip"],
        "additionalProperties": False,
    }
).decode()
CAREFUL = msgspec.json.encode(
    {
        "type": "object",
        "properties": {
            "reevaluation": {"type": "string"},
            "final_response": {"type": "string"},
        },
        "required": ["reevaluation", "final_response"],
        "additionalProperties": False,
    }
).decode()


class Answered(Struct, frozen=True):
    """What became of a request."""

    notes: Notes
    response: str
    reevaluation: str = ""
    calls: tuple[Cost, ...] = ()
    """What each call of a model cost, in order."""
    is_degraded: bool = False
    """Whether the guard or the main model did not do its part."""
    trouble: str = ""


class Routed(NamedTuple):
    """Which way a request goes, and what it cost to know."""

    notes: Notes
    cost: Cost


class Prime(Struct, frozen=True):
    """Guidelines and the models that follow them.

    Args:
        spec: The guidelines.
        model: The main model; the guard too, unless the guidelines name another.
        form: How the main model is asked.
        on_error: What follows if a careful answer cannot be read.
        refusal: What is said to a direct violation.
    """

    spec: RouteSpec
    model: str
    form: Form = "hidden"
    on_error: OnError = OnError.BLOCK
    refusal: str = REFUSAL

    def route(self, conversation: Sequence[Content]) -> Flow[Routed]:
        """Ask the guard which way a conversation goes; never raises for what the guard does."""
        guard, asked = self.spec.guard or self.model, router(self.spec, conversation)
        call = Chat(guard, asked, SCHEMA, ALTERNATIVES)
        [reply] = yield (call,)
        if isinstance(reply, Spoken):
            notes = read(reply, self.spec.minimal, self.spec.direct)
        else:
            notes = Notes(trouble=f"the guard did not answer: {unexpected(reply)}")
        return Routed(notes, cost("router", call, reply))

    def answer(self, conversation: Sequence[Content], fixed: Notes | None = None) -> Flow[Answered]:
        """Route a conversation and answer it.

        Args:
            conversation: Its messages, oldest first.
            fixed: A route to take without asking the guard, for ablations.

        Raises:
            BackendError: The main model did not answer.
        """
        notes = fixed
        calls: tuple[Cost, ...] = ()
        if notes is None:
            notes, paid = yield from self.route(conversation)
            calls = (paid,)
        branch, degraded = plan(self.spec, notes).branch, bool(notes.trouble)
        if not branch.asks:
            return Answered(notes, self.refusal, "", calls, degraded)
        asked = messages(self.spec, notes, conversation, self.form)
        call = Chat(self.model, asked, CAREFUL if branch.weighs else "", max_tokens=LONGEST)
        [reply] = yield (call,)
        if not isinstance(reply, Spoken):
            raise unexpected(reply)
        calls = (*calls, cost("reevaluation" if branch.weighs else "answer", call, reply))
        if not branch.weighs:
            return Answered(notes, reply.text, "", calls, degraded)
        said = weighed(reply.text, self.on_error)
        if said.trouble:
            response = said.response or self.refusal
            return Answered(notes, response, "", calls, is_degraded=True, trouble=said.trouble)
        return Answered(notes, said.response, said.thought, calls, degraded)


class Weighed(NamedTuple):
    """A careful answer, taken apart."""

    thought: str
    response: str
    """What the person is to read; empty if nothing may be shown."""
    trouble: str = ""


def weighed(text: str, on_error: OnError) -> Weighed:
    """Take a careful answer apart.

    One that cannot be read as an object is shown only if the policy lets errors pass and no part
    of it looks like an object: it might be what the model thought, not what it meant to say.
    """
    found = answer_of(text)
    if found is not None:
        return Weighed(*found)
    is_prose = "{" not in text and "final_response" not in text.lower()
    shown = text if is_prose and on_error is not OnError.BLOCK else ""
    return Weighed("", shown, "the careful answer could not be read")


def decision(notes: Notes, content: Content, revision: str) -> Decision:
    """Return a route as a decision for the log: a direct violation blocks, a potential flags."""
    action = {Route.MINIMAL: Action.ALLOW, Route.POTENTIAL: Action.FLAG, Route.DIRECT: Action.BLOCK}
    scores = notes.scores or {notes.route: 1.0}
    findings = tuple(
        Finding(each.value.replace("_", "-"), min(max(score, 0.0), 1.0), note=notes.check)
        for each, score in scores.items()
        if each is not Route.MINIMAL and score > 0
    )
    verdict = Verdict(NAME, findings, notes.trouble)
    return Decision(action[notes.route], content, (verdict,), "route", revision, stage="input")

"""PrimeGuard in the gateway: a request that passed the input rail, routed and answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from balustrade.backends import openai_wire as wire
from balustrade.backends.openai import REFUSED
from balustrade.core.content import Content, last_asked
from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Verdict
from balustrade.flow.cache import Cache
from balustrade.flow.limit import deadline
from balustrade.flow.run import AsyncSend, arun
from balustrade.gateway.answers import read
from balustrade.gateway.ask import Question
from balustrade.gateway.costs import note
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import HttpError
from balustrade.gateway.speaker import Speaker
from balustrade.gateway.upstream import Complaint
from balustrade.gateway.wire import Tree, encode
from balustrade.policy.route import RouteSpec
from balustrade.rails.prime.branches import Plan, plan
from balustrade.rails.prime.notes import Route
from balustrade.rails.prime.prime import CAREFUL, NAME, Prime, decision, weighed

if TYPE_CHECKING:
    from balustrade.gateway.state import State

UNSEEN = "the guard does not see all that the request stands on"
ROOM = 300
"""Tokens that a second thought may add to an answer whose length the client limits."""

_NOT_CAREFUL = ("logprobs", "top_logprobs", "response_format")
"""Fields that do not fit an answer which is an object first."""

_any = msgspec.json.Decoder()


class Routers:
    """What asks guards for routes, one memory for each set of guidelines in force.

    The speaker and its knowledge of what upstreams take are shared by all.
    """

    def __init__(self, state: State) -> None:
        self.forms: dict[tuple[str, str], int] = {}
        """Of each upstream's endpoints, the strictest form of a careful answer that it takes."""

        self._speaker = Speaker(state)
        self._sends: dict[str, AsyncSend] = {}

    def send(self, spec: RouteSpec) -> AsyncSend:
        """Return what answers for these guidelines: in time, and from memory if it can."""
        known = self._sends.get(spec.revision)
        if known is None:
            if len(self._sends) >= 64:
                del self._sends[next(iter(self._sends))]
            timed = deadline(self._speaker, spec.timeout)
            known = Cache(timed, spec.remembers) if spec.remembers else timed
            self._sends[spec.revision] = known
        return known


def expect_unrouted(exchange: Exchange) -> None:
    """Refuse a request by a way that no route leads through, rather than answer it unrouted.

    Raises:
        HttpError: 400; the policy has a route.
    """
    if exchange.rails.document.stage.route is not None:
        raise HttpError(
            400,
            "this policy routes requests, as /v1/chat/completions and /v1/responses do; ask there",
            code="route_not_supported",
        )


async def routed(
    exchange: Exchange, messages: Sequence[Content], spec: RouteSpec, *, is_whole: bool = True
) -> Plan:
    """Ask which way a request goes, take note of it, and return what that means.

    Args:
        exchange: The request's.
        messages: The conversation.
        spec: The guidelines.
        is_whole: Whether that is all that the main model will see. If not, the guard may call
            harmless what is none, so the careful route is the freest.
    """
    started = time.perf_counter()
    prime = Prime(spec, exchange.model)
    notes, paid = await arun(prime.route(messages), exchange.state.routers.send(spec))
    if not is_whole and notes.route is Route.MINIMAL:
        notes = replace(notes, route=Route.POTENTIAL, scores={}, trouble=UNSEEN)
    note(exchange, paid)
    exchange.state.budgets.spend(exchange.request.key, paid.prompt_tokens + paid.completion_tokens)
    last = last_asked(messages) or messages[-1]
    exchange.decided(decision(notes, last, exchange.rails.revision), last, started)
    return plan(spec, notes)


def prepared(tree: Tree, known: Plan) -> Tree:
    """Return a body with what the route puts around its conversation."""
    before = [{"role": "system", "content": known.opening}] if known.opening else []
    after = [{"role": "system", "content": known.closing}] if known.closing else []
    made: Tree = {**tree, "messages": [*before, *tree["messages"], *after]}
    if not known.branch.weighs:
        return made
    for name in _NOT_CAREFUL:
        made.pop(name, None)
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(made.get(name), int):
            made[name] += ROOM
    return made


FORMS: tuple[dict[str, Any] | None, ...] = (
    wire.form(_any.decode(CAREFUL)),
    wire.OBJECT,
    None,
)
"""How a careful answer's form is asked for, the strictest first: servers take different ones."""


def formed(tree: Tree, form: Tree) -> Tree:
    """Return a chat's body that asks for an answer of some form."""
    return {**tree, "response_format": form}


async def weighed_answer(
    exchange: Exchange, question: Question, ask_for: Callable[[Tree, Tree], Tree], tree: Tree
) -> bytes:
    """Ask for a careful answer in the strictest form that its upstream takes.

    Args:
        exchange: The request's.
        question: Asks upstream.
        ask_for: Puts a form, as chats write it, into a body.
        tree: The body.

    Raises:
        HttpError: The upstream objects to all of them, or does not answer.
    """
    forms, endpoint = exchange.state.routers.forms, (question.upstream, question.path)
    start = forms.get(endpoint, 0)
    for number in range(start, len(FORMS)):
        form = FORMS[number]
        body = tree if form is None else ask_for(tree, form)
        try:
            data = await question.whole(body)
        except Complaint as error:
            if error.status not in REFUSED or form is None:
                raise
            continue
        forms[endpoint] = number
        return data
    raise AssertionError("the last form returns or raises")


def unpacked(exchange: Exchange, seen: Sequence[Content], data: bytes) -> bytes | None:
    """Return a careful answer with each alternative's response in the place of its object.

    None if an alternative cannot be read and the policy lets no error pass; that is on note then.

    Raises:
        HttpError: The answer is not what a chat endpoint answers.
    """
    completion = read(data)
    tree: Tree = _any.decode(data)
    on_error = exchange.rails.document.on_error
    for choice, known in zip(tree["choices"], completion.choices, strict=True):
        if known.message.tool_calls or known.message.function_call:
            continue
        found = weighed(known.message.content or "", on_error)
        if not found.response:
            unread(exchange, seen[-1], found.trouble)
            return None
        choice["message"]["content"] = found.response
        choice.pop("logprobs", None)
    return encode(tree)


def unread(exchange: Exchange, content: Content, trouble: str) -> None:
    """Take note that a careful answer could not be read, and stops what it was given to."""
    verdict, revision = Verdict(NAME, (), trouble), exchange.rails.revision
    stopped = Decision(Action.BLOCK, content, (verdict,), "on_error", revision, stage="output")
    exchange.decided(stopped, content, time.perf_counter())

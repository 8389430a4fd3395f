"""One request on its way through the rails: what was decided, on record, and how it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from balustrade.core.call import Flow
from balustrade.core.content import Content, Stage
from balustrade.core.decision import Action, Decision
from balustrade.flow.run import arun
from balustrade.gateway.audit import Judged as Recorded
from balustrade.gateway.audit import facts
from balustrade.gateway.costs import header
from balustrade.gateway.ear import Ear
from balustrade.gateway.http import Headers, HttpError, Request
from balustrade.policy.vault import Vault
from balustrade.rails.build import Rails
from balustrade.rails.explanation import Explanation
from balustrade.rails.pipeline import Outcome, Pipeline
from balustrade.rails.prime.cost import Cost
from balustrade.rails.turns import Judged

if TYPE_CHECKING:
    from balustrade.gateway.state import State

T = TypeVar("T")

_pipelines: WeakKeyDictionary[State, dict[int, Pipeline]] = WeakKeyDictionary()
_MOST = 64
"""Pipelines kept for one server; those of policies that were replaced go first."""


def pipeline_for(state: State, rails: Rails) -> Pipeline:
    """Return the pipeline of some rails, made once while they are in force."""
    known = _pipelines.setdefault(state, {})
    pipeline = known.get(id(rails))
    if pipeline is None:
        if len(known) >= _MOST:
            del known[next(iter(known))]
        # It holds its rails, so their id stays theirs.
        pipeline = known[id(rails)] = Pipeline(rails)
    return pipeline


class Exchange:
    """What one request needs: its rails, its vault, its decisions. Nothing of it is shared.

    Args:
        state: The server's state.
        request: The request.
        model: The model it asks for.
        vault: What was masked for the same conversation before.
        rails: What judges it; those of the request's key if absent.
    """

    def __init__(
        self,
        state: State,
        request: Request,
        model: str,
        vault: Vault | None = None,
        *,
        rails: Rails | None = None,
    ) -> None:
        self.state = state
        self.request = request
        self.model = model
        self.vault = Vault() if vault is None else vault
        self.rails = state.rails_for(request.key) if rails is None else rails
        self.pipeline = pipeline_for(state, self.rails)
        self._send = state.sender(self.pipeline.timeout)
        self.ear: Ear | None = None
        """What overhears the models, where somebody watches."""

        self.calls: list[Cost] = []
        """What was paid so far for a request that is routed, call by call."""

        self._waiting: list[Recorded] = []
        self._writing: asyncio.Task[None] | None = None
        self._ids: dict[int, tuple[Decision, str]] = {}
        self.told: tuple[Decision, str] | None = None
        """The decision that counts so far, and its ID: the gravest, the latest of equals."""

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow of the pipeline."""
        return await arun(flow, self._send if self.ear is None else self.ear)

    def listen(self) -> Ear:
        """Have the models overheard from now on."""
        self.ear = Ear(self._send)
        return self.ear

    async def judge(self, flow: Flow[Outcome]) -> Outcome:
        """Drive a flow to its outcome, and take note of what was decided."""
        started = time.perf_counter()
        outcome = await arun(flow, self._send)
        self.take(outcome.judged, started)
        return outcome

    async def judge_all(self, flow: Flow[list[Outcome]]) -> list[Outcome]:
        """Drive a flow to several outcomes, and take note of what was decided."""
        started = time.perf_counter()
        outcomes = await arun(flow, self._send)
        for outcome in outcomes:
            self.take(outcome.judged, started)
        return outcomes

    def take(self, judged: Sequence[Judged], started: float) -> None:
        """Note decisions that were made since `started`."""
        for judge in judged:
            self.decided(judge.decision, judge.turn.content, started)

    def decided(self, decision: Decision, content: Content, started: float) -> str:
        """Note one decision; return its ID."""
        micros = int((time.perf_counter() - started) * 1_000_000)
        known = facts(self.request, self.model, micros)
        self._waiting.append(Recorded(decision, content, known))
        self._ids[id(decision)] = (decision, known.id)
        if self.told is None or decision.action >= self.told[0].action:
            self.told = (decision, known.id)
        return known.id

    async def explain(self, content: Content, decision: Decision) -> Explanation | None:
        """Return what stands behind a decision; None if no model's finding does."""
        rail = self.rails.at(Stage(decision.stage))
        return await self.state.explainer(rail, content, decision, self._send)

    def record_meanwhile(self) -> None:
        """Begin to put what was decided on record while something else is waited for.

        `record` waits for the end of it, and raises what went wrong.
        """
        if self._waiting and self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
            self._writing.add_done_callback(_seen)

    async def record(self) -> None:
        """Put what was decided on record; a response may leave once this has returned."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
        await self._write()

    async def _write(self) -> None:
        if self._waiting:
            events, self._waiting = self._waiting, []
            await self.state.audit.record(events, self.rails.document.audit)

    @property
    def decision(self) -> Decision | None:
        """The decision that counts so far: the gravest, the latest of equals."""
        return self.told[0] if self.told else None

    @property
    def decision_id(self) -> str:
        """The ID of that decision; empty if nothing was judged."""
        return self.told[1] if self.told else ""

    def extension(self, decision: Decision | None = None) -> dict[str, str]:
        """Return the field that bodies carry: one decision, or the one that counts."""
        if decision is not None:
            return told(*self._ids[id(decision)])
        return told(*self.told) if self.told else {}

    def headers(self) -> Headers:
        """Return the headers that name the decision, and what its route cost."""
        if self.told is None:
            return ()
        decision, identifier = self.told
        return (
            (b"x-balustrade-decision", identifier.encode()),
            (b"x-balustrade-action", decision.action.word.encode()),
            (b"x-balustrade-policy", self.rails.revision.encode()),
            *header(self.calls),
        )

    def message(self, decision: Decision) -> str:
        """Return what a refused person is told."""
        policy = self.rails.at(Stage(decision.stage)).policy
        rule = policy.rule(decision.rule)
        return (rule.message if rule else "") or self.rails.document.refuse.message

    @property
    def answers_errors(self) -> bool:
        """Whether the policy wants refusals as errors."""
        form: str = self.rails.document.refuse.form
        return form == "error"

    def error(self, decision: Decision) -> HttpError:
        """Return a refusal as an error."""
        return HttpError(
            400,
            self.message(decision),
            code=reason(decision),
            param=None,
            headers=self.headers(),
        )


def reason(decision: Decision) -> str:
    """Return the code that errors carry: whether a person is to look at it."""
    return "escalated" if decision.action is Action.ESCALATE else "content_filter"


def told(decision: Decision, identifier: str) -> dict[str, str]:
    """Return a decision as bodies name it."""
    return {
        "decision": identifier,
        "action": decision.action.word,
        "rule": decision.rule,
        "stage": decision.stage,
    }


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of a failure, which nobody waits for any more if the request failed otherwise."""
    if not task.cancelled():
        task.exception()

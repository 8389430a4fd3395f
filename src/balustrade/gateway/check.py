"""POST /v1/guard/check: our whole decision on content of any stage; no model is asked to answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from balustrade.core.content import Content, Role, Stage, Text, ToolCall, words
from balustrade.core.decision import Action, Decision
from balustrade.core.guard import Latency
from balustrade.core.verdict import Verdict
from balustrade.gateway.convert import conversation
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request
from balustrade.gateway.shapes import ChatMessage, ChatRequest, FunctionCall
from balustrade.gateway.wire import Reader, unreadable
from balustrade.policy.explain import explain
from balustrade.rails.explanation import Explanation
from balustrade.rails.turns import Judged, Turn

if TYPE_CHECKING:
    from balustrade.gateway.state import State


class CheckRequest(Struct, forbid_unknown_fields=True):
    """POST /v1/guard/check: what is to be judged, at its stage; several stages at once if given."""

    input: str | None = None
    """What a user says: the input rail."""

    retrieval: str | None = None
    """What was retrieved, or a tool's result: the retrieval rail."""

    output: str | None = None
    """What a model says, in answer to `input` if that is given: the output rail."""

    tool_call: FunctionCall | None = None
    """What a model wants to call: the tool rail."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | None = None
    """A conversation as chat requests hold it; not together with the others."""

    model: str | None = None

    explain: bool = False
    """Whether the gravest decision is to be explained: which words carried it, what known examples
    are like it. Takes up to a hundred times as long as judging."""


class PlaceInText(Struct):
    """Where in a content; `end` is exclusive, both count Unicode code points."""

    part: int
    start: int
    end: int


class FoundEvidence(Struct):
    """What a guard found."""

    guard: str
    category: str
    score: float
    severity: str | None
    span: PlaceInText | None
    note: str


class FailedGuard(Struct):
    """A guard that could not judge."""

    guard: str
    error: str


class MaskedPlace(Struct):
    """What was taken out, and what stands in its place."""

    category: str
    placeholder: str
    span: PlaceInText


class CheckedContent(Struct):
    """The decision on one content."""

    decision: str
    """Its ID; GET /v1/decisions/ID finds its record."""

    stage: str
    action: str
    flagged: bool
    rule: str
    message: int | None
    """The message's number, where messages were given."""

    findings: list[FoundEvidence]
    failed: list[FailedGuard]
    unjudged: list[int]
    masks: list[MaskedPlace]
    text: str | None
    """As it may go on, where something was taken out."""

    why: list[str]
    latency: str
    """The class of its slowest guard: microseconds, milliseconds or model."""

    explanation: Explanation | None = None
    """Of the gravest decision, where it was asked for and a model's finding is behind it."""


class CheckResponse(Struct):
    """The gravest decision, and each."""

    decision: str
    action: str
    flagged: bool
    rule: str
    policy: str
    """The policy's revision."""

    latency: str
    milliseconds: float
    decisions: list[CheckedContent]


READER = Reader(CheckRequest)


async def check(state: State, request: Request) -> Answer:
    """Judge what is given, each at its own stage.

    Raises:
        HttpError: The body is wrong, or the decisions could not be put on record.
    """
    body, _ = READER.read(request.body)
    exchange = Exchange(state, request, body.model or "")
    started = time.perf_counter()
    judged = await _judge(exchange, body)
    exchange.take(judged, started)
    spent = time.perf_counter() - started
    await exchange.record()
    decisions = [_checked(exchange, judge, body.messages is not None) for judge in judged]
    decision = exchange.decision
    for judge, checked in zip(judged, decisions, strict=True):
        if body.explain and judge.decision is decision:
            checked.explanation = await exchange.explain(judge.turn.content, judge.decision)
    latencies = [exchange.rails.at(judge.turn.stage).latency for judge in judged]
    answer = CheckResponse(
        decision=exchange.decision_id,
        action=decision.action.word if decision else Action.ALLOW.word,
        flagged=decision.flagged if decision else False,
        rule=decision.rule if decision else "",
        policy=exchange.rails.revision,
        latency=max(latencies, default=Latency.MICROSECONDS).name.lower(),
        milliseconds=round(spent * 1000, 3),
        decisions=decisions,
    )
    return Answer.of(answer, headers=exchange.headers())


async def _judge(exchange: Exchange, body: CheckRequest) -> Sequence[Judged]:
    turns = list(_turns(body))
    if body.messages is None:
        if not turns:
            raise unreadable("expected input, retrieval, output, tool_call or messages", "input")
        return await exchange.run(exchange.pipeline.judge(turns, exchange.vault))
    if turns:
        raise unreadable("expected messages alone, or none", "messages")
    asked = ChatRequest(body.model or "", body.messages)
    messages = conversation(asked, exchange.rails.document.image_hosts)
    outcome = await exchange.run(exchange.pipeline.request(messages, exchange.vault))
    return outcome.judged


def _turns(body: CheckRequest) -> Iterator[Turn]:
    asked: tuple[Content, ...] = ()
    if body.input is not None:
        asked = (Content.of(body.input),)
        yield Turn(0, 0, Stage.INPUT, asked[0])
    if body.retrieval is not None:
        content = Content((Text(body.retrieval),), Role.DOCUMENT, asked)
        yield Turn(0, 0, Stage.RETRIEVAL, content)
    if body.output is not None:
        yield Turn(0, 0, Stage.OUTPUT, Content((Text(body.output),), Role.ASSISTANT, asked))
    if body.tool_call is not None:
        call = ToolCall(body.tool_call.name, body.tool_call.arguments)
        yield Turn(0, 0, Stage.TOOL, Content((call,), Role.ASSISTANT, asked))


def _checked(exchange: Exchange, judge: Judged, is_numbered: bool) -> CheckedContent:
    decision, turn = judge.decision, judge.turn
    rail = exchange.rails.at(turn.stage)
    return CheckedContent(
        decision=exchange.extension(decision)["decision"],
        stage=decision.stage,
        action=decision.action.word,
        flagged=decision.flagged,
        rule=decision.rule,
        message=turn.message if is_numbered else None,
        findings=[found for verdict in decision.verdicts for found in _found(verdict)],
        failed=[FailedGuard(v.guard, v.error) for v in decision.verdicts if v.error],
        unjudged=list(decision.unjudged),
        masks=_masks(decision),
        text="\n".join(map(words, decision.content.parts)) if decision.masks else None,
        why=explain(rail.policy, decision),
        latency=rail.latency.name.lower(),
    )


def _found(verdict: Verdict) -> Iterator[FoundEvidence]:
    for finding in verdict.findings:
        span = finding.span
        yield FoundEvidence(
            guard=verdict.guard,
            category=finding.category,
            score=finding.score,
            severity=finding.severity.name.lower() if finding.severity else None,
            span=PlaceInText(span.part, span.start, span.end) if span else None,
            note=finding.note,
        )


def _masks(decision: Decision) -> list[MaskedPlace]:
    return [
        MaskedPlace(
            mask.category,
            mask.placeholder,
            PlaceInText(mask.span.part, mask.span.start, mask.span.end),
        )
        for mask in decision.masks
    ]

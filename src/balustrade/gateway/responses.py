"""POST /v1/responses: OpenAI's newer form, plain and streamed, through the same rails."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Meta, Struct

from balustrade.core.content import Content, Role, ToolCall, words
from balustrade.core.decision import Decision
from balustrade.gateway.ask import Question, broken, spend
from balustrade.gateway.convert import applied
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request, Streamed
from balustrade.gateway.items import answer, conversation, rewrite
from balustrade.gateway.responsestream import ResponseStream
from balustrade.gateway.routing import expect_unrouted
from balustrade.gateway.shapes import Model
from balustrade.gateway.sse import event
from balustrade.gateway.vaults import Vaults
from balustrade.gateway.wire import Reader, Tree, encode, extended, put

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PATH = "/responses"


class ResponseRequest(Struct):
    """POST /v1/responses; fields not named here go upstream untouched."""

    model: Model
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    previous_response_id: str | None = None


class ResponseBody(Struct):
    """An upstream's answer."""

    output: list[dict[str, Any]]
    id: str = ""


READER = Reader(ResponseRequest)
_decoder = msgspec.json.Decoder(ResponseBody)
_any = msgspec.json.Decoder()
_vaults: WeakKeyDictionary[State, Vaults] = WeakKeyDictionary()


async def responses(state: State, request: Request) -> Answer | Streamed:
    """Answer a request for a response.

    What was masked earlier in a conversation that goes on from a response is turned back too.

    Raises:
        HttpError: The body is wrong, the policy refuses with errors, or upstream fails.
    """
    body, tree = READER.read(request.body)
    vaults = _vaults.setdefault(state, Vaults())
    owner = request.key.name if request.key else ""
    vault = vaults.find(owner, body.previous_response_id or "")
    exchange = Exchange(state, request, body.model, vault)
    expect_unrouted(exchange)
    question = Question(exchange, PATH)
    items = conversation(tree, exchange.rails.document.image_hosts)
    messages = [item.content for item in items]
    outcome = await exchange.judge(exchange.pipeline.request(messages, exchange.vault))
    if outcome.stops:
        await exchange.record()
        return _refuse(exchange, stream=bool(body.stream))
    rewrite(tree, items, outcome.changes)
    messages = applied(messages, outcome.changes)

    def keep(response: str) -> None:
        vaults.keep(owner, response, exchange.vault)

    if body.stream:
        pieces = await question.stream(tree)
        stream = ResponseStream(exchange, messages, keep)
        return Streamed(stream.run(pieces), headers=exchange.headers())
    data = await question.whole(tree)
    spend(exchange, data)
    whole, identifier = await _judged(exchange, messages, data)
    keep(identifier)
    return Answer(body=whole, headers=exchange.headers())


async def _judged(exchange: Exchange, seen: Sequence[Content], data: bytes) -> tuple[bytes, str]:
    try:
        body = _decoder.decode(data)
        tree: Tree = _any.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        await exchange.record()
        raise broken("upstream did not answer as a responses endpoint does") from error
    placed = answer(body.output)
    said = Content(tuple(part for part, _ in placed), Role.ASSISTANT)
    flow = exchange.pipeline.answers(seen, [said], exchange.vault)
    [outcome] = await exchange.judge_all(flow)
    await exchange.record()
    if outcome.stops:
        decision = outcome.gravest
        assert decision is not None
        if exchange.answers_errors:
            raise exchange.error(decision)
        tree.update(_stopped(exchange, decision))
        return extended(encode(tree), exchange.extension()), body.id
    changed = {change.number: change.part for change in outcome.changes}
    is_new = False
    for number, (part, path) in enumerate(placed):
        text = words(changed.get(number, part))
        whole = exchange.vault.unmask(text, quoted=isinstance(part, ToolCall))
        if number in changed or whole is not text:
            put(tree, ("output", *path), whole)
            is_new = True
    if is_new:
        _drop_logprobs(tree)
    return extended(encode(tree) if is_new else data, exchange.extension()), body.id


def _drop_logprobs(tree: Tree) -> None:
    """Take out what spells the answer as it was, token by token."""
    for item in tree["output"]:
        for part in item.get("content") or ():
            if isinstance(part, dict) and part.get("logprobs"):
                part["logprobs"] = []


def _stopped(exchange: Exchange, decision: Decision) -> Tree:
    """Return the fields of a response that may not leave."""
    part = {"type": "refusal", "refusal": exchange.message(decision)}
    message = {
        "id": f"msg_{exchange.decision_id}",
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": [part],
    }
    return {
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
        "output": [message],
    }


def _refuse(exchange: Exchange, *, stream: bool) -> Answer | Streamed:
    decision = exchange.decision
    assert decision is not None
    if exchange.answers_errors:
        raise exchange.error(decision)
    whole: Tree = {
        "id": f"resp_{exchange.decision_id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": exchange.model,
        "error": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": None,
        "top_p": None,
        **_stopped(exchange, decision),
        "balustrade": exchange.extension(),
    }
    if not stream:
        return Answer.of(whole, headers=exchange.headers())
    return Streamed(_as_stream(whole), headers=exchange.headers())


async def _as_stream(whole: Tree) -> AsyncIterator[bytes]:
    begun = {**whole, "status": "in_progress", "incomplete_details": None, "output": []}
    events = [("response.created", begun), ("response.incomplete", whole)]
    yield b"".join(
        event(encode({"type": kind, "sequence_number": number, "response": each}), kind.encode())
        for number, (kind, each) in enumerate(events)
    )

"""POST /v1/responses: OpenAI's newer form, plain and streamed, through the same rails."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Meta, Struct

from balustrade.backends.openai_wire import ITEM_TOKENS
from balustrade.core.content import Content, Role, ToolCall, words
from balustrade.core.decision import Decision
from balustrade.gateway import retold
from balustrade.gateway.ask import Question, broken, spend
from balustrade.gateway.convert import applied
from balustrade.gateway.costs import counted, paid, summed, totals
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request, Streamed
from balustrade.gateway.itemrouting import formed, is_whole, prepared, unpacked
from balustrade.gateway.items import answer, conversation, rewrite
from balustrade.gateway.responsestream import ResponseStream
from balustrade.gateway.routing import routed, weighed_answer
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

    turn = Turn(exchange, question, messages, keep)
    spec = exchange.rails.document.stage.route
    if spec is None:
        return await turn.freely(tree)
    known = await routed(exchange, messages, spec, is_whole=is_whole(tree))
    if not known.branch.asks:
        await exchange.record()
        return _refuse(exchange, stream=bool(body.stream))
    tree = prepared(tree, known)
    return await (turn.carefully(tree) if known.branch.weighs else turn.freely(tree))


class Turn(NamedTuple):
    """A request that passed the input rail."""

    exchange: Exchange
    question: Question
    messages: Sequence[Content]
    """The conversation as the model sees it."""
    keep: Callable[[str], None]
    """Told the response's ID, so that the conversation can go on from it."""

    async def freely(self, tree: Tree) -> Answer | Streamed:
        """Ask for an answer as it is; one that was routed has its price noted."""
        exchange, ask = self.exchange, self.question.whole
        if tree.get("stream"):
            started = time.perf_counter()
            pieces = await self.question.stream(tree)
            return self._streamed(counted(exchange, pieces, started) if exchange.calls else pieces)
        if exchange.calls:
            ask = partial(paid, exchange, "answer", ask)
        data = await ask(tree)
        spend(exchange, data)
        return await self._whole(data)

    async def carefully(self, tree: Tree) -> Answer | Streamed:
        """Ask for an answer that is weighed first; it is whole before any of it leaves."""
        exchange, is_stream = self.exchange, bool(tree.get("stream"))
        ask = partial(weighed_answer, exchange, self.question, formed)
        whole = {name: value for name, value in tree.items() if name not in _OF_STREAMS}
        data = await paid(exchange, "reevaluation", ask, whole)
        spend(exchange, data)
        said = unpacked(exchange, self.messages, data)
        if said is None:
            await exchange.record()
            return _refuse(exchange, stream=is_stream)
        if not is_stream:
            return await self._whole(said)
        await exchange.record()
        return self._streamed(retold.responded(summed(exchange, said)))

    def _streamed(self, pieces: AsyncGenerator[bytes, None]) -> Streamed:
        stream = ResponseStream(self.exchange, self.messages, self.keep)
        return Streamed(stream.run(pieces), headers=self.exchange.headers())

    async def _whole(self, data: bytes) -> Answer:
        whole, identifier = await _judged(self.exchange, self.messages, data)
        self.keep(identifier)
        return Answer(body=summed(self.exchange, whole), headers=self.exchange.headers())


_OF_STREAMS = frozenset({"stream", "stream_options"})


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
        "usage": totals(exchange.calls, ITEM_TOKENS) if exchange.calls else None,
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

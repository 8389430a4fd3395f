"""POST /v1/responses: OpenAI's newer form, plain and streamed, through the same rails."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

from msgspec import Meta, Struct

from balustrade.backends.openai_wire import ITEM_TOKENS
from balustrade.core.content import Content
from balustrade.gateway import retold
from balustrade.gateway.arounditems import formed, is_whole, noted, prepared, unpacked
from balustrade.gateway.ask import Question, spend
from balustrade.gateway.convert import applied
from balustrade.gateway.costs import counted, paid, summed, totals
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request, Streamed
from balustrade.gateway.items import conversation, rewrite
from balustrade.gateway.redraft import Ask, Unpack, redrafter
from balustrade.gateway.responseanswers import drafted, judged, stopped
from balustrade.gateway.responsestream import ResponseStream
from balustrade.gateway.routing import routed, weighed_answer
from balustrade.gateway.shapes import Model
from balustrade.gateway.sse import event
from balustrade.gateway.vaults import Vaults
from balustrade.gateway.wire import Reader, Tree, encode

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


READER = Reader(ResponseRequest)
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
        if tree.get("stream") and not exchange.pipeline.regenerates:
            started = time.perf_counter()
            pieces = await self.question.stream(tree)
            return self._streamed(counted(exchange, pieces, started) if exchange.calls else pieces)
        if exchange.calls:
            ask = partial(paid, exchange, "answer", ask)
        return await self._whole(tree, ask, _as_it_is)

    async def carefully(self, tree: Tree) -> Answer | Streamed:
        """Ask for an answer that is weighed first."""
        weigh = partial(weighed_answer, self.exchange, self.question, formed)
        ask = partial(paid, self.exchange, "reevaluation", weigh)
        return await self._whole(tree, ask, partial(unpacked, self.exchange, self.messages))

    async def _whole(self, tree: Tree, ask: Ask, unpack: Unpack) -> Answer | Streamed:
        """Return an answer that is whole before any of it leaves, streamed if so asked for."""
        exchange, is_stream = self.exchange, bool(tree.get("stream"))
        tree = {name: value for name, value in tree.items() if name not in _OF_STREAMS}
        data = await ask(tree)
        spend(exchange, data)
        said = unpack(data)
        if said is None:
            await exchange.record()
            return _refuse(exchange, stream=is_stream)
        redraft = None
        if exchange.pipeline.regenerates:
            redraft = redrafter(exchange, ask, partial(noted, tree), unpack)
        if not is_stream:
            whole, identifier = await judged(exchange, self.messages, said, redraft)
            self.keep(identifier)
            return Answer(body=summed(exchange, whole), headers=exchange.headers())
        if redraft is not None:
            said = (await drafted(exchange, self.messages, said, redraft)).data
        await exchange.record()
        return self._streamed(retold.responded(summed(exchange, said)))

    def _streamed(self, pieces: AsyncGenerator[bytes, None]) -> Streamed:
        stream = ResponseStream(self.exchange, self.messages, self.keep)
        return Streamed(stream.run(pieces), headers=self.exchange.headers())


_OF_STREAMS = frozenset({"stream", "stream_options"})


def _as_it_is(data: bytes) -> bytes | None:
    return data


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
        **stopped(exchange, decision),
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

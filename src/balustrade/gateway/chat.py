"""POST /v1/chat/completions: a conversation judged, answered, and its answer judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from balustrade.core.content import Content
from balustrade.gateway import retold
from balustrade.gateway.answers import drafted, judged, refusal
from balustrade.gateway.ask import Question, spend
from balustrade.gateway.bysentence import BySentence, may_leave_so
from balustrade.gateway.chatstream import ChatStream
from balustrade.gateway.convert import applied, conversation, rewrite
from balustrade.gateway.costs import counted, paid, summed
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request, Streamed
from balustrade.gateway.redraft import Ask, Unpack, noted, redrafter
from balustrade.gateway.routing import formed, prepared, routed, unpacked, weighed_answer
from balustrade.gateway.shapes import ChatRequest
from balustrade.gateway.wire import Reader, Tree

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PATH = "/chat/completions"
READER = Reader(ChatRequest)


async def chat(state: State, request: Request) -> Answer | Streamed:
    """Answer a chat request.

    Raises:
        HttpError: The body is wrong, the policy refuses with errors, or upstream fails.
    """
    body, tree = READER.read(request.body)
    exchange = Exchange(state, request, body.model)
    question = Question(exchange, PATH)
    messages = conversation(body, exchange.rails.document.image_hosts)
    outcome = await exchange.judge(exchange.pipeline.request(messages, exchange.vault))
    if outcome.stops:
        await exchange.record()
        return refuse(exchange, body)
    if outcome.changes:
        rewrite(body, tree, outcome.changes)
        messages = applied(messages, outcome.changes)
    weighs = False
    spec = exchange.rails.document.stage.route
    if spec is not None:
        known = await routed(exchange, messages, spec)
        if not known.branch.asks:
            await exchange.record()
            return refuse(exchange, body)
        tree, weighs = prepared(tree, known), known.branch.weighs
    stream = None if weighs else _stream(exchange, body, tree, messages, question)
    if stream is not None:
        started = time.perf_counter()
        pieces = await question.stream(tree)
        if spec is not None:
            pieces = counted(exchange, pieces, started)
        return Streamed(stream.run(pieces), headers=exchange.headers())
    ask = partial(weighed_answer, exchange, question, formed) if weighs else question.whole
    unpack = partial(unpacked, exchange, messages) if weighs else _as_it_is
    if spec is not None:
        ask = partial(paid, exchange, "reevaluation" if weighs else "answer", ask)
    return await _whole(exchange, body, tree=tree, messages=messages, how=How(ask, unpack))


def _stream(
    exchange: Exchange, body: ChatRequest, tree: Tree, messages: Sequence[Content], ask: Question
) -> ChatStream | None:
    """Return what judges the answer while it comes; None if it is to be whole before it leaves."""
    if not body.stream:
        return None
    if not exchange.pipeline.regenerates:
        return ChatStream(exchange, messages, body.n or 1)
    if may_leave_so(exchange, tree):
        return BySentence(exchange, messages, ask.stream, tree)
    return None


class How(NamedTuple):
    """How an answer is asked for, and made a plain one of."""

    ask: Ask
    unpack: Unpack


async def _whole(
    exchange: Exchange, body: ChatRequest, *, tree: Tree, messages: Sequence[Content], how: How
) -> Answer | Streamed:
    """Return an answer that is whole before any of it leaves, streamed if that was asked for."""
    tree = {name: value for name, value in tree.items() if name not in _OF_STREAMS}
    data = await how.ask(tree)
    spend(exchange, data)
    said = how.unpack(data)
    if said is None:
        await exchange.record()
        return refuse(exchange, body)
    redraft = None
    if exchange.pipeline.regenerates:
        redraft = redrafter(exchange, how.ask, partial(noted, tree), how.unpack)
    if not body.stream:
        answer = await judged(exchange, messages, said, redraft)
        return Answer(body=summed(exchange, answer), headers=exchange.headers())
    if redraft is not None:
        said = (await drafted(exchange, messages, said, redraft)).data
    await exchange.record()
    stream = ChatStream(exchange, messages, body.n or 1)
    pieces = retold.streamed(summed(exchange, said))
    return Streamed(stream.run(pieces), headers=exchange.headers())


_OF_STREAMS = frozenset({"stream", "stream_options"})


def _as_it_is(data: bytes) -> bytes | None:
    return data


def refuse(exchange: Exchange, body: ChatRequest) -> Answer | Streamed:
    """Return what a refused request ends with; nothing was asked of the model.

    Raises:
        HttpError: The policy wants refusals as errors.
    """
    decision = exchange.decision
    assert decision is not None
    if exchange.answers_errors:
        raise exchange.error(decision)
    whole = refusal(exchange, body.n or 1)
    if not body.stream:
        return Answer.of(whole, headers=exchange.headers())
    return Streamed(retold.refused(whole), headers=exchange.headers())

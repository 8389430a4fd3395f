"""Chat answers of a model: judged, turned back, refused one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from balustrade.core.content import Content, Role, ToolCall, words
from balustrade.gateway.ask import broken
from balustrade.gateway.convert import Placed, answer
from balustrade.gateway.costs import totals
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import HttpError
from balustrade.gateway.redraft import Redraft, merged
from balustrade.gateway.shapes import AnswerMessage, ChatCompletion
from balustrade.gateway.wire import Tree, encode, extended, put
from balustrade.rails.pipeline import Outcome
from balustrade.rails.regenerate import wants_another

_decoder = msgspec.json.Decoder(ChatCompletion)
_any = msgspec.json.Decoder()

_PASSED = frozenset(AnswerMessage.__struct_fields__) | {"role", "annotations"}
"""Fields of an answer that are judged, or hold no words of the model."""


def read(data: bytes) -> ChatCompletion:
    """Return an upstream's answer.

    Raises:
        HttpError: 502; it is not what a chat endpoint answers.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(f"upstream did not answer as a chat endpoint does: {error}") from error


async def judged(
    exchange: Exchange, seen: Sequence[Content], data: bytes, redraft: Redraft | None = None
) -> bytes:
    """Judge each alternative of an answer for itself; return what may leave.

    Args:
        exchange: The request's.
        seen: The conversation as the model saw it.
        data: The upstream's answer.
        redraft: What asks for alternatives again that a rule of `regenerate` held back.

    Raises:
        HttpError: The answer is not what a chat endpoint answers; or no alternative may leave,
            and the policy wants that as an error.
    """
    pipeline = exchange.pipeline
    data, placed, contents, outcomes = await drafted(exchange, seen, data, redraft)
    await exchange.record()
    if exchange.answers_errors and outcomes and all(outcome.stops for outcome in outcomes):
        decision = exchange.decision
        assert decision is not None
        raise exchange.error(decision)
    # What is remembered serves the next turn; this one's answer need not wait for it.
    loop = asyncio.get_running_loop()
    for content, outcome in zip(contents, outcomes, strict=True):
        loop.call_soon(pipeline.note, seen, content, outcome)
    tree: Tree = _any.decode(data)
    is_new = _strip(tree)
    for choice, parts, outcome in zip(tree["choices"], placed, outcomes, strict=True):
        is_new = _settle(exchange, choice, parts, outcome) or is_new
    return extended(encode(tree) if is_new else data, exchange.extension())


class Drafted(NamedTuple):
    """An answer as it stands after its last draft, its parts and what was decided of each."""

    data: bytes
    placed: list[list[Placed]]
    contents: list[Content]
    outcomes: list[Outcome]


async def drafted(
    exchange: Exchange, seen: Sequence[Content], data: bytes, redraft: Redraft | None
) -> Drafted:
    """Judge an answer, and again what takes the place of drafts that were held back.

    Raises:
        HttpError: An answer is not what a chat endpoint answers.
    """
    rounds = exchange.rails.document.regeneration.rounds if redraft else 1
    before = exchange.told
    found = await _judged(exchange, seen, data)
    for _ in range(1, rounds):
        held_back = [n for n, outcome in enumerate(found.outcomes) if wants_another(outcome)]
        if not held_back or redraft is None:
            break
        again = await redraft([found.outcomes[number] for number in held_back])
        if again is None:
            break
        # What counts from here on is what becomes of the new draft; all drafts stay on record.
        exchange.told = before
        found = await _judged(exchange, seen, merged(found.data, held_back, again))
    return found


async def _judged(exchange: Exchange, seen: Sequence[Content], data: bytes) -> Drafted:
    try:
        completion = read(data)
    except HttpError:
        await exchange.record()
        raise
    placed = [answer(choice.message) for choice in completion.choices]
    contents = [Content(tuple(p.part for p in parts), Role.ASSISTANT) for parts in placed]
    flow = exchange.pipeline.answers(seen, contents, exchange.vault)
    return Drafted(data, placed, contents, await exchange.judge_all(flow))


def _strip(tree: Tree) -> bool:
    """Take out fields of messages that may hold words which nobody judges."""
    found = False
    for choice in tree["choices"]:
        for name in choice["message"].keys() - _PASSED:
            del choice["message"][name]
            found = True
    return found


def _settle(
    exchange: Exchange, choice: dict[str, Any], parts: Sequence[Placed], outcome: Outcome
) -> bool:
    """Write one alternative as it may leave; return whether that differs from how it came."""
    if outcome.stops:
        decision = outcome.gravest
        assert decision is not None
        index = choice.get("index", 0)
        choice.clear()
        choice.update(refused(index, exchange.message(decision)))
        return True
    is_new = False
    changed = {change.number: change.part for change in outcome.changes}
    for number, (part, path) in enumerate(parts):
        text = words(changed.get(number, part))
        quoted = isinstance(part, ToolCall)
        whole = exchange.vault.unmask(text, quoted=quoted)
        if number in changed or whole is not text:
            put(choice["message"], path, whole)
            is_new = True
    if is_new and choice.get("logprobs") is not None:
        # They spell the answer as it was, token by token.
        choice["logprobs"] = None
    return is_new


def refused(index: int, message: str) -> dict[str, Any]:
    """Return an alternative that may not leave."""
    return {
        "index": index,
        "message": {"role": "assistant", "content": message, "refusal": None},
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def refusal(exchange: Exchange, count: int) -> Tree:
    """Return a whole completion of which the model said nothing; its route may have cost."""
    decision = exchange.decision
    assert decision is not None
    message = exchange.message(decision)
    return {
        "id": f"chatcmpl-{exchange.decision_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": exchange.model,
        "choices": [refused(index, message) for index in range(count)],
        "usage": totals(exchange.calls),
        "balustrade": exchange.extension(),
    }

"""An upstream's whole response judged: which draft counts, and what of it may leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from balustrade.core.content import Content, Role, ToolCall, words
from balustrade.core.decision import Decision
from balustrade.gateway.ask import broken
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.items import Placed, answer
from balustrade.gateway.redraft import Redraft
from balustrade.gateway.wire import Tree, encode, extended, put
from balustrade.rails.pipeline import Outcome
from balustrade.rails.regenerate import wants_another


class ResponseBody(Struct):
    """An upstream's answer."""

    output: list[dict[str, Any]]
    id: str = ""


_decoder = msgspec.json.Decoder(ResponseBody)
_any = msgspec.json.Decoder()


class Drafted(NamedTuple):
    """A response as it stands after its last draft, its parts and what was decided of them."""

    data: bytes
    id: str
    placed: list[Placed]
    outcome: Outcome


async def judged(
    exchange: Exchange, seen: Sequence[Content], data: bytes, redraft: Redraft | None = None
) -> tuple[bytes, str]:
    """Judge a response; return what may leave, and its ID.

    Args:
        exchange: The request's.
        seen: The conversation as the model saw it.
        data: The upstream's response.
        redraft: What asks for another that a rule of `regenerate` held back.

    Raises:
        HttpError: It is not what a responses endpoint answers; or it may not leave, and the policy
            wants that as an error.
    """
    data, identifier, placed, outcome = await drafted(exchange, seen, data, redraft)
    await exchange.record()
    tree: Tree = _any.decode(data)
    if outcome.stops:
        decision = outcome.gravest
        assert decision is not None
        if exchange.answers_errors:
            raise exchange.error(decision)
        tree.update(stopped(exchange, decision))
        return extended(encode(tree), exchange.extension()), identifier
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
    return extended(encode(tree) if is_new else data, exchange.extension()), identifier


async def drafted(
    exchange: Exchange, seen: Sequence[Content], data: bytes, redraft: Redraft | None
) -> Drafted:
    """Judge a response, and again what takes the place of drafts that were held back.

    Raises:
        HttpError: One is not what a responses endpoint answers.
    """
    rounds = exchange.rails.document.regeneration.rounds if redraft else 1
    before = exchange.told
    found = await _draft(exchange, seen, data)
    for _ in range(1, rounds):
        if redraft is None or not wants_another(found.outcome):
            break
        again = await redraft([found.outcome])
        if again is None:
            break
        # What counts from here on is what becomes of the new draft; all drafts stay on record.
        exchange.told = before
        found = await _draft(exchange, seen, again)
    return found


async def _draft(exchange: Exchange, seen: Sequence[Content], data: bytes) -> Drafted:
    try:
        body = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        await exchange.record()
        raise broken("upstream did not answer as a responses endpoint does") from error
    placed = answer(body.output)
    said = Content(tuple(part for part, _ in placed), Role.ASSISTANT)
    flow = exchange.pipeline.answers(seen, [said], exchange.vault)
    [outcome] = await exchange.judge_all(flow)
    return Drafted(data, body.id, placed, outcome)


def _drop_logprobs(tree: Tree) -> None:
    """Take out what spells the answer as it was, token by token."""
    for item in tree["output"]:
        for part in item.get("content") or ():
            if isinstance(part, dict) and part.get("logprobs"):
                part["logprobs"] = []


def stopped(exchange: Exchange, decision: Decision) -> Tree:
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

"""Ask the model again for answers that a rule of `regenerate` held back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from balustrade.core.content import Stage
from balustrade.gateway.ask import spend
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import HttpError
from balustrade.gateway.wire import Tree, encode
from balustrade.rails.pipeline import Outcome
from balustrade.rails.regenerate import complaints, feedback

_any = msgspec.json.Decoder()

Ask = Callable[[Tree], Awaitable[bytes]]
"""Sends a body upstream and returns the whole answer."""
Unpack = Callable[[bytes], bytes | None]
Noted = Callable[[str, int], Tree]
"""Given a note to the model and how many alternatives are asked for, the body to ask with."""
Redraft = Callable[[Sequence[Outcome]], Awaitable[bytes | None]]
"""Given the outcomes of alternatives that were held back, new ones; None if there are none."""


def redrafter(exchange: Exchange, ask: Ask, noted: Noted, unpack: Unpack) -> Redraft:
    """Return what asks for the same answer again, told what was wrong with the last draft.

    Args:
        exchange: The request's.
        ask: What asks.
        noted: What puts a note into the body that was asked with, which is not streamed.
        unpack: What makes a plain answer of upstream's; None if it cannot.
    """

    async def again(outcomes: Sequence[Outcome]) -> bytes | None:
        found = complaints(
            [
                (exchange.rails.at(Stage(judged.decision.stage)).policy, judged.decision)
                for outcome in outcomes
                for judged in outcome.judged
            ]
        )
        try:
            data = await ask(noted(feedback(found), len(outcomes)))
        except HttpError:
            # The first draft was held back for good reason: there is an answer, a refusal.
            return None
        spend(exchange, data)
        return unpack(data)

    return again


def noted(tree: Tree, note: str, count: int) -> Tree:
    """Return a chat's body with a note after its messages, for so many alternatives."""
    message = {"role": "system", "content": note}
    body: Tree = {**tree, "messages": [*tree["messages"], message]}
    body.pop("n", None)
    if count > 1:
        body["n"] = count
    return body


def merged(data: bytes, held_back: Sequence[int], again: bytes) -> bytes:
    """Return an answer with new alternatives in the places of those that were held back."""
    tree: Tree = _any.decode(data)
    new: list[dict[str, Any]] = _any.decode(again)["choices"]
    for place, choice in zip(held_back, new, strict=False):
        index = tree["choices"][place].get("index", place)
        tree["choices"][place] = {**choice, "index": index}
    return encode(tree)

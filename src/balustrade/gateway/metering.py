"""Count what a streamed answer costs against its key's budget of tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import msgspec

from balustrade.core.errors import BackendError
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.shapes import WORDS
from balustrade.gateway.sse import Events
from balustrade.gateway.wire import Tree

PER_TOKEN = 4
"""Characters that are counted as one token where upstream does not say: English has about that."""

_decoder = msgspec.json.Decoder()


async def metered(
    exchange: Exchange, pieces: AsyncGenerator[bytes, None], asked: int
) -> AsyncGenerator[bytes, None]:
    """Pass on a streamed answer as it is, and spend what it cost, however it ends.

    That is the `usage` that upstream reports. An answer that was cut off, or of an upstream that
    reports none, costs what was asked and what came of it, at `PER_TOKEN` characters a token.

    Args:
        exchange: The request's.
        pieces: What upstream sends.
        asked: Characters of the body that was sent to it.
    """
    meter = Meter(asked)
    try:
        async for piece in pieces:
            meter.feed(piece)
            yield piece
    finally:
        await pieces.aclose()
        exchange.state.budgets.spend(exchange.request.key, meter.tokens)


class Meter:
    """What a streamed answer cost so far.

    Args:
        asked: Characters of the request.
    """

    def __init__(self, asked: int) -> None:
        self._events = Events()
        self._characters = asked
        self._reported = 0

    @property
    def tokens(self) -> int:
        """Tokens, as reported or else as guessed."""
        return self._reported or -(-self._characters // PER_TOKEN)

    def feed(self, piece: bytes) -> None:
        """Take a piece of the stream; what is no event of an answer costs nothing."""
        try:
            events = [e.data for e in self._events.feed(piece) if e.data != b"[DONE]"]
            trees = [_decoder.decode(data) for data in events]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BackendError):
            return  # whoever judges the stream says what is wrong with it
        for tree in trees:
            if isinstance(tree, dict):
                self._characters += _said(tree)
                self._reported = max(self._reported, _used(tree))


def _said(tree: Tree) -> int:
    """Return how many characters an event of any of the three kinds of streams adds."""
    delta = tree.get("delta")
    if isinstance(delta, str):
        return len(delta)
    return sum(
        _length(part, (*WORDS, "text")) + sum(map(_called, _calls(part)))
        for choice in _list(tree.get("choices"))
        for part in (choice, choice.get("delta"))
        if isinstance(part, dict)
    )


def _calls(delta: Tree) -> list[Any]:
    """Return the functions that a piece of an answer calls, in the old form too."""
    return [*(call.get("function") for call in _list(delta.get("tool_calls"))),
            delta.get("function_call")]  # fmt: skip


def _called(function: Any) -> int:  # noqa: ANN401 - anything may come
    return _length(function, ("name", "arguments")) if isinstance(function, dict) else 0


def _length(tree: Tree, names: Iterable[str]) -> int:
    return sum(len(text) for name in names if isinstance(text := tree.get(name), str))


def _used(tree: Tree) -> int:
    for place in (tree, tree.get("response")):
        usage = place.get("usage") if isinstance(place, dict) else None
        total = usage.get("total_tokens") if isinstance(usage, dict) else None
        if isinstance(total, int):
            return total
    return 0


def _list(value: Any) -> list[Tree]:  # noqa: ANN401 - anything may come
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

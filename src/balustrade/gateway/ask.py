"""Ask the model behind a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import HttpError
from balustrade.gateway.metering import metered
from balustrade.gateway.upstream import Upstream
from balustrade.gateway.wire import Tree, encode

if TYPE_CHECKING:
    from balustrade.gateway.auth import Key


class Usage(Struct):
    """What an answer cost."""

    total_tokens: int | None = None


class _Counted(Struct):
    usage: Usage | None = None


_counted = msgspec.json.Decoder(_Counted)


class Question:
    """A body on its way to the upstream that answers for its model.

    Args:
        exchange: The request's.
        path: The endpoint's, below the upstream's address.

    Raises:
        HttpError: 403, the key may not ask for the model; 404, nobody answers for it.
    """

    def __init__(self, exchange: Exchange, path: str) -> None:
        _expect_allowed(exchange.request.key, exchange.model)
        target = exchange.state.upstreams.find(exchange.model)
        self._exchange = exchange
        self.path = path
        """The endpoint's."""
        self._model = target.model
        self._upstream: Upstream = target.upstream
        self.upstream = target.upstream.name
        """The name of who answers."""

    async def whole(self, tree: Tree) -> bytes:
        """Return the whole answer; what was decided before is on record even if there is none."""
        exchange = self._exchange
        if exchange.state.in_flight <= 1:
            # A core that only waits for the model has time to write; a busy one writes once.
            exchange.record_meanwhile()
        try:
            reply = await self._upstream.post(exchange.request, self.path, self._body(tree))
        except HttpError:
            await exchange.record()
            raise
        return reply.body

    async def stream(self, tree: Tree) -> AsyncGenerator[bytes, None]:
        """Return the answer while it comes, once it begins; what was decided is on record."""
        exchange = self._exchange
        exchange.record_meanwhile()
        sent = self._body(tree)
        try:
            flowing = await self._upstream.stream(exchange.request, self.path, sent)
        except HttpError:
            await exchange.record()
            raise
        try:
            await exchange.record()
        except BaseException:
            await flowing.pieces.aclose()
            raise
        if not _has_budget(exchange):
            return flowing.pieces
        return metered(exchange, flowing.pieces, len(sent))

    def _body(self, tree: Tree) -> bytes:
        if self._model != self._exchange.model:
            tree = {**tree, "model": self._model}
        return encode(tree)


def spend(exchange: Exchange, data: bytes) -> None:
    """Count what an answer cost against its key's budget, where there is one."""
    if not _has_budget(exchange):
        return
    try:
        counted = _counted.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if counted.usage is not None and counted.usage.total_tokens:
        exchange.state.budgets.spend(exchange.request.key, counted.usage.total_tokens)


def _has_budget(exchange: Exchange) -> bool:
    key = exchange.request.key
    return key is not None and key.tokens_per_minute is not None


def broken(message: str) -> HttpError:
    """Return the error for an upstream's answer that cannot be judged, so cannot leave."""
    return HttpError(502, message, "upstream_error", "upstream_broken")


def _expect_allowed(key: Key | None, model: str) -> None:
    if key is not None and not key.allows(model):
        raise HttpError(
            403,
            f"key {key.name!r} may not ask for the model {model!r}",
            code="model_not_allowed",
            param="model",
        )

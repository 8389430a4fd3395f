"""Streamed continuations of prompts: every word judged before it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from balustrade.core.content import Content
from balustrade.core.decision import Decision
from balustrade.core.errors import BackendError
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.growing import Growing
from balustrade.gateway.relay import Relay
from balustrade.gateway.sse import DONE, event
from balustrade.gateway.wire import Tree, encode


class PieceOfText(Struct):
    """One alternative's share of an event."""

    text: str = ""
    index: int = 0
    finish_reason: str | None = None


class CompletionChunk(Struct):
    """One event of a streamed completion."""

    choices: list[PieceOfText] = []


_decoder = msgspec.json.Decoder(CompletionChunk)
_any = msgspec.json.Decoder()
_NOT_CONSTANT = {"choices", "usage", "obfuscation"}


class CompletionStream(Relay):
    """Judge a streamed completion, each alternative for itself; log-probabilities are left out.

    Args:
        exchange: The request's; its earlier decisions are on record.
        seen: The prompts as the model saw them.
        count: How many alternatives were asked for, for each prompt.
    """

    def __init__(self, exchange: Exchange, seen: Sequence[Content], count: int) -> None:
        super().__init__()
        self._exchange = exchange
        self._left = count * len(seen)
        self._texts: list[Growing[int]] = [Growing(exchange, [prompt]) for prompt in seen]
        self._count = count
        self._done: set[int] = set()
        self._base: Tree = {}
        self._usage: Tree = {}

    async def _settle(self) -> None:
        for texts in self._texts:
            await texts.finish(texts.open)
        await self._exchange.record()

    async def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            await self._end()
            return
        try:
            chunk = _decoder.decode(data)
            tree: Tree = _any.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BackendError("upstream sent an event that is no chunk of an answer") from error
        if "error" in tree:
            raise BackendError("upstream broke off its answer with an error")
        if not self._base:
            self._base = {name: v for name, v in tree.items() if name not in _NOT_CONSTANT}
        self._usage = tree.get("usage") or self._usage
        for choice in chunk.choices:
            if choice.index not in self._done:
                await self._take_choice(choice)
        if not chunk.choices:
            self._out.append(event(data))

    async def _take_choice(self, choice: PieceOfText) -> None:
        index = choice.index
        texts = self._texts[min(index // self._count, len(self._texts) - 1)]
        if choice.text:
            [released] = (await texts.feed({index: choice.text})).values()
            if released.text:
                self._send(index, released.text)
            if released.cut:
                await self._close(index, "content_filter", released.decision)
                return
        if choice.finish_reason is not None:
            await self._finish(texts, index, choice.finish_reason)

    async def _finish(self, texts: Growing[int], index: int, why: str) -> None:
        [released] = (await texts.finish([index])).values()
        if released.text:
            self._send(index, released.text)
        decision = released.decision
        stops = decision is not None and decision.action.stops
        await self._close(index, "content_filter" if stops else why, decision)

    async def _close(self, index: int, why: str, decision: Decision | None) -> None:
        self._done.add(index)
        await self._exchange.record()
        extension = self._exchange.extension(decision) if decision else {}
        self._send(index, "", why, extension)
        if why == "content_filter":
            self._left -= 1
            if self._left <= 0:
                self._is_over = True
                self._out.append(DONE)

    async def _end(self) -> None:
        for texts in self._texts:
            for index in texts.open:
                await self._finish(texts, index, "stop")
        if not self._is_over:
            self._is_over = True
            self._out.append(DONE)

    def _send(
        self, index: int, text: str, why: str | None = None, extension: Tree | None = None
    ) -> None:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": why}
        more: Tree = {"balustrade": extension} if extension else {}
        if why and self._usage:
            more["usage"] = self._usage
        self._out.append(event(encode({**self._base, "choices": [choice], **more})))

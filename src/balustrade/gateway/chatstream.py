"""Streamed chat answers: every word judged before it leaves, every tool call judged whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from balustrade.core.content import Content, Role, ToolCall, words
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import BackendError
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.growing import Growing
from balustrade.gateway.relay import Relay
from balustrade.gateway.shapes import WORDS, ChatChunk, ChunkChoice, Delta
from balustrade.gateway.sse import DONE, event
from balustrade.gateway.toolcalls import OpenCalls
from balustrade.gateway.wire import Tree, encode
from balustrade.rails.pipeline import Outcome

_decoder = msgspec.json.Decoder(ChatChunk)
_any = msgspec.json.Decoder()
_NOT_CONSTANT = {"choices", "usage", "obfuscation"}
_FRAME = b'data: %s,"choices":[{"index":%d,"delta":%s,"logprobs":%s,"finish_reason":%s}]%s}\n\n'


class Key(NamedTuple):
    """Which text of the answer: the alternative's number, and the field."""

    number: int
    field: str


class Alternative(Struct):
    """What is known of one of the alternatives."""

    calls: OpenCalls = msgspec.field(default_factory=OpenCalls)
    tokens: deque[tuple[int, list[Any]]] = msgspec.field(default_factory=deque)
    """Log-probabilities of words that have not left, each with the place where they end."""

    given: int = 0
    """Characters of its content so far."""

    decisions: list[Decision] = []
    is_done: bool = False


class ChatStream(Relay):
    """Judge one streamed chat answer.

    Text leaves as soon as it is judged, so its chunks are not those of upstream; put together
    they are the same text. A tool call is held until it is complete, judged by the tool rail and
    sent as one chunk. An alternative that is stopped ends with `finish_reason: content_filter`;
    once none is left, upstream is cancelled. Fields that we do not know are left out.

    Args:
        exchange: The request's; its earlier decisions are on record.
        seen: The conversation as the model saw it.
        count: How many alternatives were asked for.
    """

    def __init__(self, exchange: Exchange, seen: Sequence[Content], count: int) -> None:
        super().__init__()
        self._exchange = exchange
        self._seen = seen
        self._left = count
        self._texts: Growing[Key] = Growing(exchange, seen)
        self._alternatives: dict[int, Alternative] = {}
        self._pending: dict[Key, str] = {}
        self._head = b""
        self._usage: Tree = {}
        """What the answer cost so far, where upstream says so beside its words."""

    async def _settle(self) -> None:
        """Put on record what was judged of an answer that broke off."""
        await self._texts.finish(self._texts.open)
        await self._exchange.record()

    async def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            await self._end()
            return
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BackendError("upstream sent an event that is no chunk of an answer") from error
        if not self._head or not chunk.choices:
            await self._take_rare(data, chunk)
        if chunk.usage:
            self._usage = chunk.usage
        for choice in chunk.choices:
            await self._take_choice(choice)

    async def _take_rare(self, data: bytes, chunk: ChatChunk) -> None:
        """Take the first event, and those that carry no words."""
        tree: Tree = _any.decode(data)
        if "error" in tree:
            raise BackendError("upstream broke off its answer with an error")
        if not self._head:
            base = {name: v for name, v in tree.items() if name not in _NOT_CONSTANT}
            self._head = encode({"object": "chat.completion.chunk", **base})[:-1]
        if not chunk.choices:
            await self._flush()
            self._out.append(event(data))

    async def _take_choice(self, choice: ChunkChoice) -> None:
        alternative = self._alternatives.setdefault(choice.index, Alternative())
        if alternative.is_done:
            return
        delta = choice.delta
        if delta.audio is not None:
            raise BackendError("upstream streams sound, which nobody here judges")
        if delta.role is not None:
            await self._flush()
            shown: Tree = {} if delta.content is None else {"content": ""}
            self._send(choice.index, encode({"role": delta.role, **shown}))
        self._take_words(choice.index, alternative, delta, choice.logprobs)
        if delta.tool_calls or delta.function_call:
            for call in alternative.calls.take(delta):
                await self._call(choice.index, alternative, call)
        if choice.finish_reason is not None and not alternative.is_done:
            await self._finish(choice.index, alternative, choice.finish_reason)

    def _take_words(
        self, index: int, alternative: Alternative, delta: Delta, logprobs: Tree | None
    ) -> None:
        for field in WORDS:
            text = getattr(delta, field)
            if text:
                key = Key(index, field)
                self._pending[key] = self._pending.get(key, "") + text
        if logprobs and delta.content:
            tokens = logprobs.get("content")
            if tokens:
                alternative.tokens.append((alternative.given + len(delta.content), tokens))
        alternative.given += len(delta.content or "")

    async def _flush(self) -> None:
        """Judge what has come, and send what may leave."""
        if not self._pending:
            return
        chunks, self._pending = self._pending, {}
        for key, released in (await self._texts.feed(chunks)).items():
            if not self._alternatives[key.number].is_done:
                self._send_words(key, released.text)
            if released.cut and released.decision is not None:
                await self._stop(key.number, released.decision)

    async def _finish(self, index: int, alternative: Alternative, why: str) -> None:
        """End one alternative: judge what is still open, put it on record, let it go."""
        await self._flush()
        if not alternative.is_done:
            await self._end_words(index, alternative)
        for call in alternative.calls.rest():
            if not alternative.is_done:
                await self._call(index, alternative, call)
        if not alternative.is_done:
            self._note(index)
            decision = max(alternative.decisions, key=lambda d: d.action, default=None)
            await self._close(index, alternative, encode(why), decision)

    def _note(self, index: int) -> None:
        """Have the one answer, of words alone, known when it comes back in the conversation."""
        judged = self._texts.line(Key(index, "content")).judged
        if judged is None or self._left > 1 or len(self._alternatives[index].decisions) > 1:
            return
        if judged.decision.action <= Action.FLAG and not len(self._exchange.vault):
            said = Content(judged.turn.content.parts, Role.ASSISTANT)
            self._exchange.pipeline.note(self._seen, said, Outcome((judged,)))

    async def _end_words(self, index: int, alternative: Alternative) -> None:
        if not len(alternative.calls):
            # An answer without a word is an answer too: it is judged, and on record.
            self._texts.line(Key(index, "content"))
        keys = [key for key in self._texts.open if key.number == index]
        for key, released in (await self._texts.finish(keys)).items():
            self._send_words(key, released.text)
            assert released.decision is not None
            alternative.decisions.append(released.decision)
            if released.decision.action.stops and not alternative.is_done:
                await self._stop(index, released.decision)

    async def _call(self, index: int, alternative: Alternative, call: Tree) -> None:
        """Judge a complete tool call, and send it as one chunk."""
        await self._flush()
        if alternative.is_done:
            return
        exchange, part = self._exchange, OpenCalls.part(call)
        content = Content((part,), Role.ASSISTANT)
        outcome = await exchange.judge(exchange.pipeline.call(self._seen, content, exchange.vault))
        decision = outcome.gravest
        assert decision is not None
        alternative.decisions.append(decision)
        if outcome.stops:
            await self._stop(index, decision)
            return
        for change in outcome.changes:
            assert isinstance(change.part, ToolCall)
            part = change.part
        text = exchange.vault.unmask(words(part), quoted=True)
        await exchange.record()
        self._send(index, encode(OpenCalls.delta(call, text)))

    async def _stop(self, index: int, decision: Decision) -> None:
        """End an alternative that may not go on; without any left, upstream is not needed."""
        alternative = self._alternatives[index]
        if alternative.is_done:
            return
        await self._close(index, alternative, b'"content_filter"', decision)
        self._left -= 1
        if self._left <= 0:
            self._is_over = True
            await self._settle()
            self._out.append(DONE)

    async def _close(
        self, index: int, alternative: Alternative, why: bytes, decision: Decision | None
    ) -> None:
        alternative.is_done = True
        await self._exchange.record()
        extension = b""
        if decision is not None:
            extension = b',"balustrade":' + encode(self._exchange.extension(decision))
        if self._usage:
            extension += b',"usage":' + encode(self._usage)
        self._out.append(_FRAME % (self._head, index, b"{}", b"null", why, extension))

    async def _end(self) -> None:
        """Upstream is done: so is every alternative, said or unsaid."""
        await self._flush()
        for index, alternative in self._alternatives.items():
            if not alternative.is_done:
                await self._finish(index, alternative, "stop")
        if not self._is_over:
            self._is_over = True
            await self._settle()
            self._out.append(DONE)

    def _send_words(self, key: Key, text: str) -> None:
        if not text:
            return
        logprobs = b"null"
        if key.field == "content":
            tokens = self._tokens(key)
            if tokens:
                logprobs = encode({"content": tokens, "refusal": None})
        delta = b'{"%s":%s}' % (key.field.encode(), encode(text))
        self._out.append(_FRAME % (self._head, key.number, delta, logprobs, b"null", b""))

    def _tokens(self, key: Key) -> list[Any]:
        """Return the log-probabilities of words that have left as they came."""
        waiting = self._alternatives[key.number].tokens
        left = self._texts.line(key).settled if waiting else -1
        tokens: list[Any] = []
        while waiting and waiting[0][0] <= left:
            tokens += waiting.popleft()[1]
        return tokens

    def _send(self, index: int, delta: bytes) -> None:
        self._out.append(_FRAME % (self._head, index, delta, b"null", b"null", b""))

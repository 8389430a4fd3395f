"""Streamed chat answers under `regenerate` that leave by the sentence.

A sentence leaves once it has passed the output rail. Where one is held back, upstream is cancelled
and asked again: with the sentences that were sent as the beginning of its answer, and a note on
what was wrong. Both are plain messages, an assistant's and a system's, so any server that speaks
OpenAI's protocol takes them; one that begins its answer anew has what it repeats stripped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from balustrade.core.content import Content, Stage
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import BalustradeError
from balustrade.gateway.chatstream import Alternative, ChatStream, Key
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.growing import Growing, Released
from balustrade.gateway.http import HttpError
from balustrade.gateway.shapes import ChatChunk, ChunkChoice, Delta
from balustrade.gateway.sse import error_event
from balustrade.gateway.wire import Tree, encode
from balustrade.rails.progress import Piece
from balustrade.rails.regenerate import complaints, feedback, onward
from balustrade.rails.sentences import Sentences
from balustrade.text.overlap import Overlap

ANSWER = Key(0, "content")
_any = msgspec.json.Decoder()

Asks = Callable[[Tree], Awaitable[AsyncGenerator[bytes, None]]]
"""Sends a body upstream and returns the answer while it comes."""


def may_leave_so(exchange: Exchange, tree: Tree) -> bool:
    """Whether the policy lets an answer leave by the sentence, and this one can be gone on from.

    Several alternatives, and an object of a given form, are held whole.
    """
    form = tree.get("response_format") or {}
    return (
        exchange.rails.document.regeneration.buffer == "sentence"
        and (tree.get("n") or 1) == 1
        and form.get("type", "text") == "text"
    )


class Held(Growing[Key]):
    """The texts of one answer, each let go by the sentence."""

    def __init__(self, exchange: Exchange, seen: Sequence[Content]) -> None:
        super().__init__(exchange, seen)
        self._sentences: dict[Key, Sentences] = {}

    async def feed(self, chunks: Mapping[Key, str]) -> dict[Key, Released]:
        """Judge the sentences that are whole now; return those that passed."""
        released: dict[Key, Released] = {}
        for key in [key for key in chunks if self.line(key).is_open]:
            self._lines[key].seen.append(chunks[key])
            self._shown([key])
            piece = await self._exchange.run(self._of(key).feed(chunks[key]))
            released[key] = self._let_go(key, chunks[key], piece, is_last=False)
        return released

    async def finish(self, keys: Sequence[Key]) -> dict[Key, Released]:
        """End some texts; return what was held back of each, if it passed, with its decision."""
        released: dict[Key, Released] = {}
        for key in [key for key in keys if self.line(key).is_open]:
            self._shown([key])
            piece = await self._exchange.run(self._of(key).finish())
            released[key] = self._let_go(key, "", piece, is_last=True)
        return released

    def said(self, key: Key) -> str:
        """Return what has left of a text, as the model may see it."""
        return self._sentences[key].said if key in self._sentences else ""

    @property
    def is_spaced(self) -> bool:
        """Whether the answer, as it is gone on from, ends with a gap."""
        return ANSWER in self._sentences and self._sentences[ANSWER].text[-1:].isspace()

    def rewind(self) -> None:
        """Have the answer go on from its last sentence that has left; forget all other texts."""
        kept = self._sentences.get(ANSWER)
        line = self._lines.get(ANSWER)
        self._sentences.clear()
        self._lines.clear()
        if kept is None or line is None:
            return
        kept.rewind()
        line.seen[:] = [kept.text]
        line.is_open, line.judged = True, None
        self._sentences[ANSWER], self._lines[ANSWER] = kept, line

    def _of(self, key: Key) -> Sentences:
        known = self._sentences.get(key)
        if known is None:
            stream = self._exchange.pipeline.sentences
            known = self._sentences[key] = Sentences(stream, self._asked, self._scratch)
        return known

    def _let_go(self, key: Key, chunk: str, piece: Piece, *, is_last: bool) -> Released:
        line = self._lines[key]
        line.progress = self._sentences[key].progress
        is_end = is_last or piece.cut
        text = self._turned_back(line, piece.text, is_end=is_last and not piece.cut)
        if is_end:
            line.is_open = False
            assert piece.decision is not None
            self._note(line, piece.decision)
        released = Released(text, piece.decision if is_end else None, piece.cut)
        showing = self._showing if list(self._lines)[:1] == [key] else None
        if showing is not None:
            showing.take(chunk, line.progress, released)
            if is_end:
                # What is shown is one draft: the first.
                self._showing = None
        return released


class BySentence(ChatStream):
    """Judge one streamed chat answer by the sentence, and have what fails written anew.

    There are at most `rounds` drafts in all. Once a tool call has left, or if another rule than one
    of `regenerate` stops the answer, it ends. An answer of which nothing has left then says what
    the policy tells who is refused.

    Args:
        exchange: The request's; its earlier decisions are on record.
        seen: The conversation as the model saw it.
        ask: What asks upstream.
        tree: The body that was asked with.
    """

    def __init__(self, exchange: Exchange, seen: Sequence[Content], ask: Asks, tree: Tree) -> None:
        super().__init__(exchange, seen, 1)
        self._held = Held(exchange, seen)
        self._texts = self._held
        self._ask = ask
        self._tree = tree
        self._left_rounds = exchange.rails.document.regeneration.rounds - 1
        self._fault: Decision | None = None
        self._overlap: Overlap | None = None
        self._is_first = True
        self._has_called = False
        self._spent: Tree = {}
        """What earlier drafts cost, as far as upstream said so before they were cancelled."""

    async def run(self, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """Yield what may leave of all drafts; each one's upstream is closed in every case."""
        while True:
            async with aclosing(super().run(pieces)) as draft:  # type: ignore[type-var]  # it is a generator
                async for out in draft:
                    if out:
                        yield out
            if self._fault is None:
                return
            fault, self._fault = self._fault, None
            self._out.clear()
            try:
                pieces = await self._anew(fault)
            except HttpError:
                # What was held back was so for good reason: the answer ends as if refused.
                try:
                    await self._end_refused(fault)
                except BalustradeError as error:
                    yield error_event(str(error))
                    return
                yield b"".join(self._out)
                return

    async def _anew(self, fault: Decision) -> AsyncGenerator[bytes, None]:
        """Ask for the rest of the answer, told what was wrong with it."""
        exchange, said = self._exchange, self._held.said(ANSWER)
        policy = exchange.rails.at(Stage(fault.stage)).policy
        found = complaints([(policy, fault)])
        begun = [{"role": "assistant", "content": said.rstrip()}] if said else []
        note = {"role": "system", "content": onward(found) if said else feedback(found)}
        body = {**self._tree, "messages": [*self._tree["messages"], *begun, note]}
        pieces = await self._ask(body)
        self._spent, self._usage = added(self._spent, self._usage), {}
        self._held.rewind()
        self._overlap = Overlap(said, is_spaced=self._held.is_spaced) if said else None
        self._alternatives.clear()
        self._pending.clear()
        self._is_first = self._is_over = False
        return pieces

    async def _end_refused(self, fault: Decision) -> None:
        self._left_rounds = 0
        self._alternatives = {0: Alternative()}
        await self._stop(0, fault)

    async def _stop(self, index: int, decision: Decision) -> None:
        alternative = self._alternatives[index]
        if alternative.is_done:
            return
        asks = decision.action is Action.REGENERATE and self._left_rounds > 0
        if asks and not self._has_called:
            self._left_rounds -= 1
            self._fault = decision
            alternative.is_done = self._is_over = True
            await self._exchange.record()
            return
        if not self._held.said(ANSWER) and not self._has_called:
            self._refuse(index, decision)
        await super()._stop(index, decision)

    def _refuse(self, index: int, decision: Decision) -> None:
        if not self._exchange.answers_errors:
            self._send(index, encode({"content": self._exchange.message(decision)}))

    async def _take_rare(self, data: bytes, chunk: ChatChunk) -> None:
        if not self._is_first and not chunk.choices:
            tree: Tree = _any.decode(data)
            head: Tree = _any.decode(self._head + b"}")
            if chunk.usage:
                tree["usage"] = added(self._spent, chunk.usage)
            data = encode({**tree, **{name: head[name] for name in head if name in tree}})
        await super()._take_rare(data, chunk)

    async def _take_choice(self, choice: ChunkChoice) -> None:
        if not self._is_first:
            # It is one answer, so who speaks is said once.
            choice.delta.role = None
        await super()._take_choice(choice)

    def _take_words(
        self, index: int, alternative: Alternative, delta: Delta, logprobs: Tree | None
    ) -> None:
        del logprobs  # They spell each draft, token by token.
        if self._overlap is not None and delta.content:
            delta.content = self._overlap.feed(delta.content)
        super()._take_words(index, alternative, delta, None)

    async def _finish(self, index: int, alternative: Alternative, why: str) -> None:
        self._take_rest(index, alternative)
        await super()._finish(index, alternative, why)

    async def _call(self, index: int, alternative: Alternative, call: Tree) -> None:
        self._take_rest(index, alternative)
        await super()._call(index, alternative, call)
        self._has_called = self._has_called or not alternative.is_done

    def _take_rest(self, index: int, alternative: Alternative) -> None:
        """Take what was held to see whether it repeats."""
        overlap, self._overlap = self._overlap, None
        if overlap is not None:
            rest = Delta(content=overlap.finish())
            super()._take_words(index, alternative, rest, None)

    async def _close(
        self, index: int, alternative: Alternative, why: bytes, decision: Decision | None
    ) -> None:
        self._usage = added(self._spent, self._usage)
        await super()._close(index, alternative, why, decision)


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> Tree:
    """Return two counts of what was used as one."""
    total: Tree = dict(one)
    for name, value in other.items():
        known: Any = total.get(name)
        match known, value:
            case {}, {}:
                total[name] = added(known, value)
            case ((int() | float()), (int() | float())):
                total[name] = known + value
            case _:
                total[name] = value
    return total

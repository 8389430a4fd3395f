"""Texts of one streamed response: released no faster than they are judged, then turned back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from balustrade.core.content import Content, Role, Stage, Text
from balustrade.core.decision import Decision
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.showing import Showing
from balustrade.policy.vault import Unmasker
from balustrade.rails.pipeline import scratch
from balustrade.rails.progress import Piece, Progress
from balustrade.rails.turns import REACH, Judged, Turn

K = TypeVar("K", bound=Hashable)


class Released(Struct, frozen=True):
    """What may leave of a text now; with a decision, nothing more will."""

    text: str
    decision: Decision | None = None
    cut: bool = False


class Line(Struct):
    """One text while it grows."""

    progress: Progress
    unmasker: Unmasker | None
    seen: list[str]
    is_open: bool = True
    judged: Judged | None = None
    """The text as it came and what was decided of it, once it has ended."""

    @property
    def settled(self) -> int:
        """How many characters of the text as it came have left as they came; -1 if changed."""
        if self.unmasker is not None or self.progress.masks:
            return -1
        return self.progress.sent


class Growing(Generic[K]):
    """The texts of one response, each under a key of the caller's; judged side by side.

    Args:
        exchange: The request's.
        seen: The conversation as the model saw it.
    """

    def __init__(self, exchange: Exchange, seen: Sequence[Content]) -> None:
        self._exchange = exchange
        self._stream = exchange.pipeline.stream
        self._history = tuple(seen[-REACH:])
        self._scratch = scratch(seen, exchange.vault)
        self._lines: dict[K, Line] = {}
        self._showing: Showing | None = None
        """Of the first text, where somebody watches."""

        self._started = time.perf_counter()
        last = self._history[-1] if self._history else Content.of("")
        self._asked = Content(last.parts, last.role, self._history[:-1])

    def __contains__(self, key: K) -> bool:
        return key in self._lines

    def line(self, key: K) -> Line:
        """Return the text under a key, started if there is none."""
        line = self._lines.get(key)
        if line is None:
            vault = self._exchange.vault
            line = Line(
                self._stream.start(self._asked), Unmasker(vault) if len(vault) else None, []
            )
            self._lines[key] = line
            if len(self._lines) == 1:
                self._showing = self._exchange.state.watchers.show(self._exchange)
        return line

    @property
    def open(self) -> list[K]:
        """Keys of texts that have neither ended nor been cut."""
        return [key for key, line in self._lines.items() if line.is_open]

    async def feed(self, chunks: Mapping[K, str]) -> dict[K, Released]:
        """Judge the next chunk of some texts; return what may leave of each.

        A text that is cut has its decision noted, not yet on record.
        """
        keys = [key for key in chunks if self.line(key).is_open]
        if self._showing is not None and len(keys) > 1:
            return await self._each(keys, lambda key: self.feed({key: chunks[key]}))
        showing = self._shown(keys)
        lines = [self._lines[key] for key in keys]
        for key, line in zip(keys, lines, strict=True):
            line.seen.append(chunks[key])
        vaults = [self._scratch] * len(keys)
        flow = self._stream.step(
            [line.progress for line in lines], [chunks[key] for key in keys], vaults
        )
        released = self._taken(keys, await self._exchange.run(flow), is_last=False)
        if showing is not None:
            showing.take(chunks[keys[0]], lines[0].progress, released[keys[0]])
        return released

    async def finish(self, keys: Sequence[K]) -> dict[K, Released]:
        """End some texts; return what was held back of each, with its decision."""
        keys = [key for key in keys if self.line(key).is_open]
        if self._showing is not None and len(keys) > 1:
            return await self._each(keys, lambda key: self.finish([key]))
        showing = self._shown(keys)
        vaults = [self._scratch] * len(keys)
        flow = self._stream.finish([self._lines[key].progress for key in keys], vaults)
        released = self._taken(keys, await self._exchange.run(flow), is_last=True)
        if showing is not None:
            showing.take("", self._lines[keys[0]].progress, released[keys[0]])
        return released

    async def _each(
        self, keys: Sequence[K], judge: Callable[[K], Awaitable[dict[K, Released]]]
    ) -> dict[K, Released]:
        """Judge texts one by one, so that whose words are overheard is known; to the same end."""
        released: dict[K, Released] = {}
        for key in keys:
            released |= await judge(key)
        return released

    def _shown(self, keys: Sequence[K]) -> Showing | None:
        """Return the showing if it is of the only text that is judged now."""
        if self._showing is None or list(keys) != [next(iter(self._lines))]:
            return None
        self._showing.begin()
        return self._showing

    def _taken(
        self, keys: Sequence[K], results: Sequence[tuple[Progress, Piece]], *, is_last: bool
    ) -> dict[K, Released]:
        released: dict[K, Released] = {}
        for key, (progress, piece) in zip(keys, results, strict=True):
            line = self._lines[key]
            line.progress = progress
            is_end = is_last or piece.cut
            text = self._turned_back(line, piece.text, is_end=is_end)
            if is_end:
                line.is_open = False
                assert piece.decision is not None
                self._note(line, piece.decision)
            released[key] = Released(text, piece.decision if is_end else None, piece.cut)
        return released

    @staticmethod
    def _turned_back(line: Line, text: str, *, is_end: bool) -> str:
        if line.unmasker is None:
            return text
        whole = line.unmasker.feed(text) if text else ""
        return whole + line.unmasker.finish() if is_end else whole

    def _note(self, line: Line, decision: Decision) -> None:
        content = Content((Text("".join(line.seen)),), Role.ASSISTANT, self._history)
        line.judged = Judged(Turn(0, 0, Stage.OUTPUT, content), decision)
        self._exchange.decided(decision, content, self._started)
        line.seen.clear()

"""Let people watch answers while they are judged: one answer each, from its first word on."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.content import Stage
from balustrade.gateway.auth import Key, sees
from balustrade.gateway.reel import Opening, Reel, Step
from balustrade.policy.model import Policy
from balustrade.rails.progress import Progress

if TYPE_CHECKING:
    from balustrade.gateway.exchange import Exchange
    from balustrade.gateway.growing import Released

MOST = 100_000
"""Characters of one answer that are shown; the answer itself goes on."""

BEHIND = 2_000
"""Steps that may wait for somebody who reads slowly."""


class Ended(Struct, frozen=True):
    """All of an answer, and the policy that decided."""

    reel: Reel
    policy: Policy


Told: TypeAlias = Opening | Step | Ended


class Watcher:
    """Somebody who waits for an answer, and is then told of its steps.

    Args:
        key: Whose rights they have.
    """

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.told: asyncio.Queue[Told | None] = asyncio.Queue(BEHIND)
        self.lost = ""
        """Why nothing more is told; empty while all is."""

    def tell(self, what: Told) -> None:
        """Tell of a step, without waiting for who is told."""
        try:
            self.told.put_nowait(what)
        except asyncio.QueueFull:
            self.lost = f"more than {BEHIND} steps were waiting to be read"

    def lose(self, why: str) -> None:
        """Tell nothing more."""
        self.lost = why
        with suppress(asyncio.QueueFull):
            self.told.put_nowait(None)


class Showing:
    """One answer that is being watched.

    The text is shown if the policy keeps it whole in its log; else a dot stands for each character.

    Args:
        exchange: The request it answers.
        watchers: Who watches.
    """

    def __init__(self, exchange: Exchange, watchers: list[Watcher]) -> None:
        document, key = exchange.rails.document, exchange.request.key
        rail = exchange.rails.at(Stage.OUTPUT)
        reel = Reel.of(rail, document.name, exchange.rails.revision, document.audit.keep == "full")
        named = replace(reel.opening, model=exchange.model, key=key.name if key else "")
        self._reel = replace(reel, opening=named)
        self._policy = rail.policy
        self._exchange = exchange
        self._ear = exchange.listen()
        self._watchers = watchers
        self._tell(named)

    def begin(self) -> None:
        """Forget what was overheard of other texts."""
        self._ear.take(is_end=True)

    def take(self, chunk: str, progress: Progress, released: Released) -> None:
        """Show one more step, and the end if it is that."""
        live = [each for each in self._watchers if not each.lost]
        if not live:
            return
        heard = self._ear.take(is_end=released.decision is not None)
        self._tell(self._reel.take(chunk, heard, progress))
        decision = released.decision
        if decision is not None:
            identifier = self._exchange.extension(decision)["decision"]
            self._reel.end(decision, identifier, was_cut=released.cut)
            self._tell(Ended(self._reel, self._policy))
        elif len(self._reel.text) > MOST:
            for watcher in live:
                watcher.lose(f"an answer is shown up to {MOST:,} characters; this one goes on")

    def _tell(self, what: Told) -> None:
        for watcher in self._watchers:
            if not watcher.lost:
                watcher.tell(what)


class Watchers:
    """All who wait for an answer in this process."""

    def __init__(self) -> None:
        self._waiting: list[Watcher] = []

    @contextmanager
    def waiting(self, key: Key | None) -> Generator[Watcher]:
        """Wait for the next answer that a key may watch; nobody watches once this is left."""
        watcher = Watcher(key)
        self._waiting.append(watcher)
        try:
            yield watcher
        finally:
            watcher.lost = "left"
            if watcher in self._waiting:
                self._waiting.remove(watcher)

    def show(self, exchange: Exchange) -> Showing | None:
        """Return the showing of an answer that begins; None if nobody waits who may see it."""
        if not self._waiting or exchange.ear is not None:
            return None
        key = exchange.request.key
        tenant, name = (key.tenant, key.name) if key else ("", "")
        watchers = [each for each in self._waiting if sees(each.key, tenant, name)]
        if not watchers:
            return None
        self._waiting = [each for each in self._waiting if each not in watchers]
        return Showing(exchange, watchers)

"""Where decisions go: a log that must acknowledge them, counts, spans, or several of these.

How an event is written is not known here: a sink for a log is given the function that encodes it,
so rails do not depend on what proves decisions (verify/record.py), nor the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from balustrade.core.content import Content
from balustrade.core.decision import Decision
from balustrade.core.errors import StoreError
from balustrade.core.facts import Facts
from balustrade.store.log import AppendLog, Entry


class Event(Struct, frozen=True):
    """A decision on its way to the sinks."""

    decision: Decision
    content: Content
    """What was judged, as it came; the decision holds what may go on."""

    facts: Facts


class Sink(Protocol):
    """Takes decisions. What it raises refuses the request the decisions belong to."""

    def take(self, events: Sequence[Event], /) -> None:
        """Take events, from code that runs in no event loop."""
        ...

    async def take_async(self, events: Sequence[Event], /) -> None:
        """Take events, from an event loop, without holding it up."""
        ...

    def close(self) -> None:
        """Hand on what is still held; the sink takes nothing afterwards."""
        ...


class LogSink:
    """Write decisions into a log, all decisions of one call together or none.

    Args:
        log: Where to; closed with the sink.
        encode: Writes an event as an entry.
        durable: Whether to return only once the log has acknowledged, and to raise if it does not.
            Otherwise the log is written as well as can be; `lost` counts what was not.
    """

    def __init__(
        self, log: AppendLog, encode: Callable[[Event], Entry], *, durable: bool = True
    ) -> None:
        self.log = log
        self.durable = durable
        self.lost = 0
        """Events that a log which is not durable did not take."""

        self._encode = encode
        self._running: set[asyncio.Task[None]] = set()

    def take(self, events: Sequence[Event], /) -> None:
        """Write events; raise StoreError if they must be kept and were not."""
        entries = [self._encode(event) for event in events]
        try:
            self.log.append(entries)
        except StoreError:
            if self.durable:
                raise
            self.lost += len(entries)

    async def take_async(self, events: Sequence[Event], /) -> None:
        """Write events; if they need not be kept, return before they are."""
        entries = [self._encode(event) for event in events]
        if self.durable:
            await self.log.append_async(entries)
            return
        task = asyncio.ensure_future(self._attempt(entries))
        # A loop holds its tasks weakly; the log's own limit bounds how many there are.
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def close(self) -> None:
        """Close the log, which writes what still waits."""
        self.log.close()

    async def _attempt(self, entries: list[Entry]) -> None:
        try:
            await self.log.append_async(entries)
        except StoreError:
            self.lost += len(entries)


class _FanOut:
    """Give events to each sink, in order; one that raises does not keep them from the others."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def take(self, events: Sequence[Event], /) -> None:
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                sink.take(events)
            except Exception as error:  # noqa: BLE001  the first is raised once all were asked
                errors.append(error)
        _raise_first(errors)

    async def take_async(self, events: Sequence[Event], /) -> None:
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                await sink.take_async(events)
            except Exception as error:  # noqa: BLE001  the first is raised once all were asked
                errors.append(error)
        _raise_first(errors)

    def close(self) -> None:
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001  the first is raised once all were asked
                errors.append(error)
        _raise_first(errors)


def fan_out(*sinks: Sink) -> Sink:
    """Return one sink for several, asked in order; for one alone, that one; for none, a void."""
    return sinks[0] if len(sinks) == 1 else _FanOut(sinks)


def _raise_first(errors: Sequence[Exception]) -> None:
    if errors:
        raise errors[0]

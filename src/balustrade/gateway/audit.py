"""Put decisions on record before their response leaves, and find them again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from msgspec import Struct

from balustrade.core.content import Content
from balustrade.core.decision import Decision
from balustrade.core.errors import BalustradeError, StoreError
from balustrade.core.facts import Facts
from balustrade.gateway.auth import Key, sees
from balustrade.gateway.http import HttpError, Request
from balustrade.gateway.metrics import Metrics
from balustrade.gateway.settings import AuditSpec
from balustrade.policy.document import Audit as Terms
from balustrade.store.log import Entry
from balustrade.store.sqlite import Durability, SqliteLog
from balustrade.verify.identity import new_id
from balustrade.verify.keep import Keep
from balustrade.verify.record import Record, decode, encode, record

LOGGER = logging.getLogger("balustrade.audit")


class Judged(Struct, frozen=True):
    """A decision with what it was made on."""

    decision: Decision
    original: Content
    """The content as it came, before anything was redacted."""

    facts: Facts


class Audit:
    """The decision log behind one path, with a writer for each degree of durability in use.

    Args:
        spec: Where it lies.
        metrics: What counts decisions.

    Raises:
        StoreError: The log cannot be made or written.
    """

    def __init__(self, spec: AuditSpec, metrics: Metrics) -> None:
        self._spec = spec
        self._metrics = metrics
        self._logs: dict[Durability, SqliteLog] = {"process": self._open("process")}
        self._pending: set[asyncio.Task[None]] = set()

    def _open(self, durability: Durability) -> SqliteLog:
        return SqliteLog(
            self._spec.path,
            durability=durability,
            max_queue=self._spec.queue,
            wait_seconds=self._spec.wait,
        )

    @property
    def log(self) -> SqliteLog:
        """The log, for who reads it."""
        return self._logs["process"]

    @property
    def error(self) -> str:
        """Why the last write was refused; empty while all is well."""
        return next((log.error for log in self._logs.values() if log.error), "")

    async def record(self, judged: Sequence[Judged], terms: Terms) -> None:
        """Keep decisions as their policy asks; returns once they are kept, if it asks for that.

        Raises:
            HttpError: 503, the policy asks for a durable record and there is none.
        """
        if not judged:
            return
        self._count(judged)
        keep = Keep(terms.keep)
        try:
            entries = [
                Entry(each.facts.id, each.facts.at, encode(_written(each, keep))) for each in judged
            ]
        except BalustradeError as error:
            self._give_up(error, terms)
            return
        if terms.durable:
            await self._keep(entries, terms)
            return
        task = asyncio.ensure_future(self._keep(entries, terms))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _keep(self, entries: list[Entry], terms: Terms) -> None:
        try:
            log = self._logs.get(terms.survives)
            if log is None:
                log = self._logs[terms.survives] = self._open(terms.survives)
            await log.append_async(entries)
        except StoreError as error:
            self._give_up(error, terms, len(entries))

    def _give_up(self, error: BalustradeError, terms: Terms, count: int = 1) -> None:
        self._metrics.unlogged.add(("true" if terms.durable else "false",), count)
        LOGGER.error("%d decisions are not on record: %s", count, error)
        if terms.durable:
            raise HttpError(
                503,
                "the decision could not be put on record, and the policy asks for a durable record",
                "audit_error",
                "audit_unavailable",
                headers=((b"retry-after", b"5"),),
            ) from error

    def find(self, identifier: str) -> Record | None:
        """Return the record of a decision."""
        entry = self.log.find(identifier)
        return decode(entry.data) if entry else None

    def latest(self, limit: int = 50, before: int | None = None) -> list[tuple[int, Record]]:
        """Return the latest records with their positions, newest first."""
        return [(entry.position, decode(entry.data)) for entry in self.log.latest(limit, before)]

    async def drain(self) -> None:
        """Wait for what is still being written."""
        while self._pending:
            await asyncio.wait(list(self._pending))

    def close(self) -> None:
        """Write out what waits."""
        for log in self._logs.values():
            log.close()

    def _count(self, judged: Sequence[Judged]) -> None:
        for each in judged:
            decision = each.decision
            labels = (decision.stage, decision.action.word, decision.revision)
            self._metrics.decisions.add(labels)
            for guard in decision.failed:
                self._metrics.guard_errors.add((decision.stage, guard))


def facts(request: Request, model: str = "", micros: int = 0, *, degraded: bool = False) -> Facts:
    """Return what is known about a decision made now for a request, under a new ID."""
    key = request.key
    return Facts(
        new_id(),
        time.time_ns() // 1000,
        micros,
        request.id,
        request.route,
        model,
        key.name if key else "",
        key.tenant if key else "",
        degraded,
    )


def may_see(key: Key | None, record: Record) -> bool:
    """Whether a caller may read a record: its tenant's, or its own where it has no tenant."""
    return sees(key, record.tenant, record.key)


def _written(each: Judged, keep: Keep) -> Record:
    return record(each.decision, each.original, each.facts, keep=keep)

"""The models behind us: who answers for which, asked with patience, bounds and a breaker."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from math import ceil
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from balustrade import __version__
from balustrade.core.errors import BackendError
from balustrade.gateway.breaker import Breaker
from balustrade.gateway.connection import Connection, ConnectionLost, TooSlow
from balustrade.gateway.http import JSON, Answer, HttpError, Request, error_body
from balustrade.gateway.metrics import Metrics
from balustrade.gateway.pool import Pool, Unreachable
from balustrade.gateway.settings import UpstreamSpec

LOGGER = logging.getLogger("balustrade.upstream")

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which the same call may be sent again: it was not begun."""

_MEGABYTE = 1_000_000
_COMPLAINT = 65_536
"""Bytes of an upstream's complaint that are passed on."""


class Reply(Struct):
    """An upstream's answer, whole; its status is 2xx."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


class Flowing(Struct):
    """An upstream's answer while it comes; its status is 2xx.

    `pieces` must be closed with `aclose()`; closed early, it cancels the upstream's work.
    """

    status: int
    pieces: AsyncGenerator[bytes, None]
    headers: Sequence[tuple[bytes, bytes]]


class Complaint(HttpError):  # noqa: N818 - the field's word
    """What an upstream had to object to a request; told to the client as it is."""

    def __init__(self, status: int, data: bytes, retry_after: bytes = b"") -> None:
        headers = ((b"retry-after", retry_after),) if retry_after else ()
        super().__init__(status, f"upstream answered {status}", "upstream_error", headers=headers)
        self._data = data[:_COMPLAINT]

    def body(self) -> bytes:
        """Return the upstream's own error, or ours if it wrote none that clients can read."""
        try:
            fields = msgspec.json.decode(self._data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = None
        if isinstance(fields, dict) and isinstance(fields.get("error"), dict):
            return self._data
        return error_body(self.message, self.type, "upstream_status")

    def answer(self) -> Answer:
        """Return it as a response."""
        return Answer(self.status, self.body(), self.headers, JSON)


class Upstream:
    """One server, asked over kept connections."""

    def __init__(self, spec: UpstreamSpec, metrics: Metrics) -> None:
        self.spec = spec
        self.name = spec.name
        self.breaker = Breaker(spec.breaker)
        self._metrics = metrics
        self._pool = Pool(spec)
        self._heads: dict[tuple[str, str], bytes] = {}

    async def post(self, request: Request, path: str, body: bytes) -> Reply:
        """Send a body and return the answer.

        Args:
            request: On whose behalf; its waiting time is counted.
            path: Below the upstream's address, such as '/chat/completions'.
            body: JSON.

        Raises:
            HttpError: The upstream objects (passed on), or there is no answer: 502, 503, 504.
        """
        return await self._whole(request, "POST", path, body)

    async def get(self, request: Request, path: str) -> Reply:
        """Ask for a path and return the answer; errors as those of `post`."""
        return await self._whole(request, "GET", path, b"")

    async def stream(self, request: Request, path: str, body: bytes) -> Flowing:
        """Send a body and return once the answer begins; errors as those of `post`.

        What breaks later raises BackendError from the pieces.
        """
        connection = await self._ask(request, "POST", path, body, whole=False)
        pieces = self._flow(request, connection)
        return Flowing(connection.status, pieces, connection.headers)

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    async def _whole(self, request: Request, method: str, path: str, body: bytes) -> Reply:
        connection = await self._ask(request, method, path, body, whole=True)
        reply = Reply(connection.status, connection.body(), connection.headers)
        self._pool.give(connection)
        return reply

    async def _flow(self, request: Request, connection: Connection) -> AsyncGenerator[bytes, None]:
        pieces = connection.pieces()
        counted = connection.waited
        try:
            async for piece in pieces:
                request.upstream_seconds += connection.waited - counted
                counted = connection.waited
                yield piece
        except BackendError as error:
            self.breaker.failed()
            self._metrics.upstream.add((self.name, "broken"))
            LOGGER.warning("upstream %r %s (%s)", self.name, error, request.id)
            raise BackendError(f"upstream {self.name!r} {error}") from error
        finally:
            await pieces.aclose()
            self._pool.give(connection)

    async def _ask(
        self, request: Request, method: str, path: str, body: bytes, *, whole: bool
    ) -> Connection:
        """Send a request until it is answered or may not be sent again."""
        data = self._head(request, method, path) + b"content-length: %d\r\n\r\n" % len(body) + body
        retries = self.spec.retries
        for attempt in range(1, retries.attempts + 1):
            is_last = attempt == retries.attempts
            try:
                connection = await self._attempt(request, data, whole=whole)
            except (Unreachable, ConnectionLost) as error:
                if is_last or (isinstance(error, ConnectionLost) and not error.clean):
                    raise self._failure(error) from error
                wait = self._pause(attempt)
            except BackendError as error:
                raise self._failure(error) from error
            else:
                if 200 <= connection.status < 300:
                    return connection
                wait = self._reconsidered(connection, attempt, is_last=is_last)
                if wait < 0:
                    raise await self._objection(connection)
                self._discard(connection)
            self._metrics.retries.add((self.name,))
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, request: Request, data: bytes, *, whole: bool) -> Connection:
        if not self.breaker.admits():
            raise HttpError(
                503,
                f"upstream {self.name!r} keeps failing and is left alone for a while",
                "upstream_error",
                "upstream_unavailable",
                headers=((b"retry-after", b"%d" % max(1, ceil(self.breaker.wait()))),),
            )
        began = time.perf_counter()
        try:
            connection = await self._send(data, whole=whole)
        except BackendError as error:
            self.breaker.failed()
            request.upstream_seconds += time.perf_counter() - began
            self._metrics.upstream.add((self.name, type(error).__name__.lower()))
            self._note_breaker()
            raise
        except BaseException:
            self.breaker.dropped()
            raise
        status = connection.status
        request.upstream_seconds += connection.waited
        self._metrics.upstream.add((self.name, str(status)))
        self._metrics.upstream_seconds.observe((self.name,), connection.waited)
        if status >= 500:
            self.breaker.failed()
            self._note_breaker()
        else:
            self.breaker.succeeded()
        return connection

    async def _send(self, data: bytes, *, whole: bool) -> Connection:
        connection = await self._pool.take()
        try:
            await self._begin(connection, data, whole=whole)
        except ConnectionLost as error:
            if not error.clean or connection.uses < 2:
                raise
            # It was closed while it lay idle, as upstreams do: that is no failure.
            connection = await self._pool.take(fresh=True)
            await self._begin(connection, data, whole=whole)
        return connection

    async def _begin(self, connection: Connection, data: bytes, *, whole: bool) -> None:
        timeouts = self.spec.timeouts
        limit = int(self.spec.max_answer_mb * _MEGABYTE)
        try:
            await connection.begin(
                data, read=timeouts.read, total=timeouts.total, limit=limit, whole=whole
            )
        except BaseException:
            self._discard(connection)
            raise

    def _discard(self, connection: Connection) -> None:
        if not connection.is_reusable:
            connection.close()
        self._pool.give(connection)

    def _reconsidered(self, connection: Connection, attempt: int, *, is_last: bool) -> float:
        """Return the seconds to wait before the next attempt, or -1 if there is none."""
        if is_last or connection.status not in AGAIN:
            return -1.0
        asked = _retry_after(_value(connection, b"retry-after"))
        if asked > self.spec.retries.longest:
            return -1.0
        return max(asked, self._pause(attempt))

    def _pause(self, attempt: int) -> float:
        longest: float = self.spec.retries.wait * 2 ** (attempt - 1)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret

    async def _objection(self, connection: Connection) -> HttpError:
        """Return the error for an answer that is no success, having read what it says."""
        status = connection.status
        retry_after = _value(connection, b"retry-after")
        data = b""
        try:
            async for piece in connection.pieces():
                data += piece
                if len(data) > _COMPLAINT:
                    break
        except BackendError:
            LOGGER.info("upstream %r broke off an answer of status %d", self.name, status)
        self._discard(connection)
        if 400 <= status < 500:
            return Complaint(status, data, retry_after)
        passed = status if status in {503, 504} else 502
        headers = ((b"retry-after", retry_after),) if retry_after else ()
        message = f"upstream {self.name!r} answered {status}"
        LOGGER.warning("%s", message)
        return HttpError(passed, message, "upstream_error", "upstream_status", headers=headers)

    def _failure(self, error: BackendError) -> HttpError:
        message = f"upstream {self.name!r} {error}"
        LOGGER.warning("%s", message)
        if isinstance(error, TooSlow):
            return HttpError(504, message, "upstream_error", "upstream_timeout")
        if isinstance(error, Unreachable):
            return HttpError(502, message, "upstream_error", "upstream_unreachable")
        return HttpError(502, message, "upstream_error", "upstream_broken")

    def _note_breaker(self) -> None:
        self._metrics.breaker.set((self.name,), float(self.breaker.state != "closed"))

    def _head(self, request: Request, method: str, path: str) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            head = self._heads[method, path] = self._made_head(method, path)
        extra = b"x-request-id: %s\r\n" % request.id.encode() if request.id else b""
        trace = request.header(b"traceparent")
        if trace and trace.isascii() and trace.isprintable():
            extra += b"traceparent: %s\r\n" % trace.encode()
        return head + extra

    def _made_head(self, method: str, path: str) -> bytes:
        parts = urlsplit(self.spec.url)
        lines = [
            f"{method} {parts.path.rstrip('/')}{path} HTTP/1.1",
            f"host: {parts.netloc}",
            f"user-agent: balustrade/{__version__}",
            "accept-encoding: identity",
            "content-type: application/json",
        ]
        if self.spec.secret:
            lines.append(f"authorization: Bearer {self.spec.secret}")
        text = "\r\n".join(lines) + "\r\n"
        return text.encode("latin-1")


class Target(Struct, frozen=True):
    """Who answers for a model, and what the model is called there."""

    upstream: Upstream
    model: str


class Upstreams:
    """All upstreams, found by model: by name, then by the longest prefix, then the default."""

    def __init__(self, specs: Sequence[UpstreamSpec], metrics: Metrics) -> None:
        self.all = [Upstream(spec, metrics) for spec in specs]
        self._by_model = {m: up for up in reversed(self.all) for m in up.spec.models}
        self._by_prefix = sorted(
            (up for up in self.all if up.spec.prefix), key=lambda up: -len(up.spec.prefix)
        )
        named = [up for up in self.all if up.spec.default]
        alone = self.all if len(self.all) == 1 and not self.all[0].spec.models else []
        self._default = next(iter(named or alone), None)

    def find(self, model: str) -> Target:
        """Return who answers for a model.

        Raises:
            HttpError: 404, nobody does; 503, no upstream is configured at all.
        """
        upstream = self._by_model.get(model)
        if upstream is not None:
            return Target(upstream, model)
        for upstream in self._by_prefix:
            if model.startswith(upstream.spec.prefix):
                return Target(upstream, model.removeprefix(upstream.spec.prefix))
        if self._default is not None:
            return Target(self._default, model)
        if not self.all:
            raise HttpError(
                503,
                "no upstream is configured; set BALUSTRADE_UPSTREAM=URL or add [[upstreams]]",
                "upstream_error",
                "no_upstream",
            )
        raise HttpError(
            404, f"the model {model!r} is not served here", code="model_not_found", param="model"
        )

    async def close(self) -> None:
        """Close idle connections."""
        for upstream in self.all:
            upstream.close()
        # Sockets are let go of in the loop's next turns; it may be about to end.
        await asyncio.sleep(0.01)


def _value(connection: Connection, name: bytes) -> bytes:
    return next((value for known, value in connection.headers if known == name), b"")


def _retry_after(value: bytes) -> float:
    """Return the seconds a header asks for; dates are too rare here to be worth reading."""
    try:
        return max(0.0, float(value)) if value else 0.0
    except ValueError:
        return 0.0

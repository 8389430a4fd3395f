"""The ASGI application: find the handler, read the body within bounds, answer, never leak."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeAlias

from balustrade.core.errors import BackendError, BalustradeError, ContentError, StoreError
from balustrade.gateway.http import Answer, Handler, HttpError, Request, Streamed
from balustrade.gateway.protocol import EXTENSION
from balustrade.gateway.routes import OPEN, Router
from balustrade.gateway.state import State
from balustrade.gateway.telemetry import Tracer

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

LOGGER = logging.getLogger("balustrade.gateway")
_OWN_ID = re.compile(rb"[\w.:-]{1,100}")
_MEGABYTE = 1_000_000


class App:
    """Serve one state.

    Args:
        state: What handlers use; opened and closed by the server's lifespan.
        opened: Called when serving begins and awaited; returns what to await when it ends.
    """

    def __init__(
        self,
        state: State,
        opened: Callable[[State], Awaitable[Callable[[], Awaitable[None]]]] | None = None,
    ) -> None:
        self.state = state
        self._opened = opened
        self._router = Router(console=state.settings.console)
        self._limit = int(state.settings.limits.body_mb * _MEGABYTE)
        self._seconds = state.settings.limits.body_seconds
        self._most = state.settings.limits.connections
        self._tracer = Tracer.of(state.settings.telemetry)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request(
            scope["method"], scope["path"], scope["headers"], b"", scope["query_string"]
        )
        own = next((value for name, value in request.pairs if name == b"x-request-id"), b"")
        request.id = own.decode() if _OWN_ID.fullmatch(own) else "req_" + os.urandom(12).hex()
        connection = (scope.get("extensions") or {}).get(EXTENSION)
        self.state.in_flight += 1
        try:
            if connection is not None:
                request.started = connection.began
                connection.running = asyncio.current_task()
            await self._run(request, receive, send, is_watched=connection is not None)
        except asyncio.CancelledError:
            # The client has gone, or the server's patience at its end: nobody is left to tell.
            LOGGER.info("%s was given up (%s)", request.route, request.id)
        finally:
            if connection is not None:
                connection.running = None
            self.state.in_flight -= 1

    async def _run(
        self, request: Request, receive: Receive, send: Send, *, is_watched: bool
    ) -> None:
        span = self._tracer.start(request) if self._tracer else None
        status = 499
        try:
            status = await self._answered(request, receive, send, is_watched=is_watched)
        finally:
            self.state.metrics.requests.add((request.route, request.method, str(status)))
            if span is not None:
                span.end(request, status)

    async def _answered(
        self, request: Request, receive: Receive, send: Send, *, is_watched: bool
    ) -> int:
        try:
            handler = self._admitted(request)
            await self._read(request, receive)
        except Exception as error:  # noqa: BLE001 - whatever it is, no traceback leaves
            return await self._send(request, as_error(error, request).answer(), send)
        if is_watched:
            return await self._handled(handler, request, send)
        # Another server than ours does not stop us when the client leaves; so we listen for it.
        return await _unless_gone(self._handled(handler, request, send), receive)

    async def _handled(self, handler: Handler, request: Request, send: Send) -> int:
        try:
            answer = await handler(self.state, request)
            if isinstance(answer, Streamed):
                return await self._stream(request, answer, send)
        except Exception as error:  # noqa: BLE001 - as above
            answer = as_error(error, request).answer()
        return await self._send(request, answer, send)

    def _admitted(self, request: Request) -> Handler:
        """Return who handles a request that may be handled."""
        handler = self._router.find(request)
        if self.state.in_flight > self._most:
            raise HttpError(
                503,
                f"the server is busy with {self._most} requests",
                "server_error",
                "overloaded",
                headers=((b"retry-after", b"1"),),
            )
        if request.route not in OPEN:
            request.key = key = self.state.keys.of(request)
            if key is not None:
                self.state.budgets.admit(key)
        return handler

    async def _read(self, request: Request, receive: Receive) -> None:
        length = request.header(b"content-length", "-1")
        if int(length) > self._limit:
            raise self._too_large()
        if length == "-1" and not request.header(b"transfer-encoding"):
            return
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise asyncio.CancelledError
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > self._limit:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise HttpError(
                408, f"the body did not arrive within {self._seconds:g} s", code="timeout"
            ) from error
        request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> HttpError:
        return HttpError(
            413, f"the body has more than {self._limit} bytes", code="request_too_large"
        )

    async def _send(self, request: Request, answer: Answer, send: Send) -> int:
        headers = [
            (b"content-type", answer.media_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
            *self._headers(request),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return answer.status

    def _headers(self, request: Request) -> tuple[tuple[bytes, bytes], ...]:
        seconds = request.overhead()
        self.state.metrics.overhead.observe((request.route,), seconds)
        return (
            (b"x-request-id", request.id.encode()),
            (b"x-balustrade-overhead-ms", b"%.3f" % (seconds * 1000)),
            (b"x-content-type-options", b"nosniff"),
        )

    async def _stream(self, request: Request, answer: Streamed, send: Send) -> int:
        """Send a stream; its first piece decides whether it is one, so that errors have a form."""
        chunks = answer.chunks
        try:
            first = await anext(chunks, b"")
            headers = [
                (b"content-type", answer.media_type),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
                *answer.headers,
                *self._headers(request),
            ]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            await send(start)
            body: Message = {"type": "http.response.body", "body": first, "more_body": True}
            await send(body)
            try:
                async for chunk in chunks:
                    body = {"type": "http.response.body", "body": chunk, "more_body": True}
                    await send(body)
            except Exception as error:  # noqa: BLE001 - the head has left: an event must tell
                event = b"data: %s\n\n" % as_error(error, request).body()
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return answer.status
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        closed: Callable[[], Awaitable[None]] | None = None
        try:
            if self._opened is not None:
                closed = await self._opened(self.state)
        except BalustradeError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if closed is not None:
            await closed()
        await self.state.close()
        if self._tracer is not None:
            self._tracer.close()
        await send({"type": "lifespan.shutdown.complete"})


def as_error(error: Exception, request: Request) -> HttpError:
    """Return what a client is told of an error; only what we raise on purpose is told in words."""
    match error:
        case HttpError():
            return error
        case ContentError():
            return HttpError(400, str(error))
        case BackendError():
            LOGGER.warning("%s: %s (%s)", request.route, error, request.id)
            return HttpError(502, str(error), "upstream_error", "upstream_error")
        case StoreError():
            LOGGER.error("%s: %s (%s)", request.route, error, request.id)
            return HttpError(503, "the log cannot be used", "audit_error", "audit_unavailable")
        case RecursionError():
            return HttpError(400, "the body is nested too deeply", code="invalid_json")
        case _:
            LOGGER.error("%s failed (%s)", request.route, request.id, exc_info=error)
            return HttpError(
                500, f"something went wrong here; quote {request.id}", "server_error", "internal"
            )


async def _unless_gone(work: Coroutine[Any, Any, int], receive: Receive) -> int:
    """Do the work, and stop it if the client leaves."""
    task = asyncio.ensure_future(work)
    listener = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        listener.cancel()
        if not task.done():
            task.cancel()
    return await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

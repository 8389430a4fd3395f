"""uvicorn's HTTP protocol with bounds on heads, OpenAI's errors, and an end to abandoned work."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from balustrade.gateway.http import error_body

EXTENSION = "balustrade"
"""Under this name the scope's extensions hold the connection, for the application to register
its task with."""


class Bounds:
    """How large and how slow a head may be; set once, before the server starts."""

    header_bytes = 65_536
    url_bytes = 8_192
    header_seconds = 10.0


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    running: asyncio.Task[Any] | None = None
    """What answers the current request; cancelled if the client goes away."""

    began = 0.0
    """When the current request's first byte was read, by `time.perf_counter`."""

    _head_size = 0
    _refusal: tuple[int, str] | None = None
    _patience: asyncio.TimerHandle | None = None
    _is_in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first head its time."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(Bounds.header_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Give a head that comes in pieces its time; one that comes whole needs no timer."""
        super().data_received(data)
        if self._is_in_head and self._patience is None:
            self._patience = self.loop.call_later(Bounds.header_seconds, self._give_up)

    def on_headers_complete(self) -> None:
        """End the wait for the head."""
        self._is_in_head = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        """Start counting."""
        super().on_message_begin()
        self.began = time.perf_counter()
        self._is_in_head = True
        self._head_size = 0
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]  # not on the wire

    def on_url(self, url: bytes) -> None:
        """Bound the URL."""
        super().on_url(url)
        if len(self.url) > Bounds.url_bytes:
            self._refuse(414, f"the URL has more than {Bounds.url_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the headers."""
        self._head_size += len(name) + len(value)
        if self._head_size > Bounds.header_bytes:
            self._refuse(431, f"the headers have more than {Bounds.header_bytes} bytes")
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, in the form that clients can read."""
        status, message = self._refusal or (400, msg[:1].lower() + msg[1:].rstrip("."))
        body = error_body(message, "invalid_request_error")
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is being done for a client that has gone."""
        super().connection_lost(exc)
        if self._patience is not None:
            self._patience.cancel()
        running = self.running
        if running is not None and self.cycle and not self.cycle.response_complete:
            running.cancel()
        self.running = None

    def _give_up(self) -> None:
        self._patience = None
        self._refusal = (408, f"no request arrived within {Bounds.header_seconds:g} s")
        self.send_400_response("")

    def _refuse(self, status: int, message: str) -> None:
        self._refusal = (status, message)
        raise ValueError(message)

"""Connections to one upstream, kept open between requests and bounded in number."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from urllib.parse import urlsplit

from balustrade.core.errors import BackendError
from balustrade.gateway.connection import Connection, ConnectionLost
from balustrade.gateway.settings import UpstreamSpec


class Unreachable(BackendError):  # noqa: N818 - what happened, in one word
    """No connection could be made; nothing was sent."""


class Pool:
    """Lend connections to one origin; the one used last is lent first, the others age out."""

    def __init__(self, spec: UpstreamSpec) -> None:
        parts = urlsplit(spec.url)
        self._spec = spec
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Connection] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def take(self, *, fresh: bool = False) -> Connection:
        """Return a connection that may be written to; bring it back with `give`.

        Args:
            fresh: Whether it must be a new one.

        Raises:
            Unreachable: None can be made, or all are in use for too long.
        """
        while True:
            while self._idle and not fresh:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
                self._open -= 1
            if self._open < self._spec.connections:
                return await self._connect()
            if self._idle:
                self._idle.pop(0).close()
                self._open -= 1
                continue
            await self._turn()

    def give(self, connection: Connection) -> None:
        """Take a connection back; keep it if it can be used again."""
        if connection.is_reusable and not self._closed:
            connection.rest()
            self._idle.append(connection)
        else:
            connection.close()
            self._open -= 1
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._open -= len(self._idle)
        self._idle.clear()

    async def _turn(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._spec.timeouts.connect):
                await waiter
        except TimeoutError as error:
            raise Unreachable(f"has all its {self._spec.connections} connections in use") from error

    async def _connect(self) -> Connection:
        self._open += 1
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._spec.timeouts.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._host, self._port, ssl=self._context()
                )
                return connection
        except TimeoutError as error:
            self._open -= 1
            seconds = self._spec.timeouts.connect
            raise Unreachable(f"took no connection within {seconds:g} s") from error
        except OSError as error:
            self._open -= 1
            reason = error.strerror or type(error).__name__
            raise Unreachable(f"cannot be reached: {reason.lower()}") from error
        except BaseException:
            self._open -= 1
            raise

    def _context(self) -> ssl.SSLContext | None:
        if self._is_tls and self._tls is None:
            context = ssl.create_default_context(cafile=self._spec.ca_file or None)
            if not self._spec.verify_tls:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._tls = context
        return self._tls


__all__ = ["ConnectionLost", "Pool", "Unreachable"]

"""One HTTP/1.1 connection to an upstream: a request at a time, nothing copied twice.

Our own because the CPU that a call costs is the gateway's throughput (docs/adr/0012).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

import httptools

from balustrade.core.errors import BackendError

_HEADERS = 65_536
"""Bytes of headers that an answer may have."""

_HIGH = 262_144
"""Bytes that wait to be read before the upstream is held back."""


class ConnectionLost(BackendError):  # noqa: N818 - what happened, in one word
    """The connection broke; `clean` if that was before any byte of the answer."""

    def __init__(self, message: str, *, clean: bool = False) -> None:
        super().__init__(message)
        self.clean = clean


class TooSlow(BackendError):  # noqa: N818 - as above
    """The upstream did not go on in time."""


class Connection(asyncio.Protocol):
    """A connection; `begin` sends a request and returns when the answer's head (or all) is there.

    Args:
        loop: The loop it lives on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: BackendError | None = None
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._is_busy = False
        self.closed = False
        self.uses = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.arrived = 0.0
        """When the last bytes came, by `time.perf_counter`."""
        self.waited = 0.0
        """Seconds spent waiting for the current answer."""
        self._reset(0.0, 0.0, 0, whole=True)

    def _reset(self, read: float, total: float, limit: int, *, whole: bool) -> None:
        self.status = 0
        self.headers = []
        self.waited = 0.0
        self._read = read
        self._end = total
        self._limit = limit
        self._whole = whole
        self._size = 0
        self._header_size = 0
        self._began = False
        self._has_head = False
        self._is_complete = False
        self._is_kept = False

    async def begin(
        self, data: bytes, *, read: float, total: float, limit: int, whole: bool
    ) -> None:
        """Send a request and wait for the head of its answer, or for all of it if `whole`.

        Args:
            data: The request as it goes out.
            read: Seconds without a byte after which to give up.
            total: Seconds for the whole answer.
            limit: Bytes the answer's body may have.
            whole: Whether to wait for the end.

        Raises:
            BackendError: There is no answer; the connection is closed then.
        """
        now = self._loop.time()
        self._reset(read, now + total, limit, whole=whole)
        self.uses += 1
        self._is_busy = True
        if self.closed or self._transport is None:
            raise ConnectionLost("closed the connection", clean=True)
        started = time.perf_counter()
        self._transport.write(data)
        self._timer = self._loop.call_at(min(now + read, self._end), self._tick, now)
        try:
            await self._wait(started)
        except BaseException:
            self.close()
            raise

    def body(self) -> bytes:
        """Return the body of an answer that was waited for whole."""
        if len(self._pieces) == 1:
            return self._pieces.popleft()
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; whoever stops early closes the connection with it."""
        try:
            while True:
                if self._pieces:
                    piece = self._pieces.popleft() if len(self._pieces) == 1 else self.body()
                    self._waiting_bytes = 0
                    if self._is_paused and self._transport is not None:
                        self._is_paused = False
                        self._transport.resume_reading()
                    yield piece
                elif self._is_complete:
                    return
                else:
                    await self._wait(time.perf_counter())
        finally:
            if not self._is_complete:
                self.close()

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent."""
        return not self.closed and self._is_complete and self._is_kept

    def close(self) -> None:
        """Break the connection, and with it whatever the upstream is doing for it."""
        self.closed = True
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, started: float) -> None:
        if self._error is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.waited += max(0.0, self.arrived - started)
        if self._error is not None and (self._whole or not self._pieces):
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: BackendError) -> None:
        if self._error is None:
            self._error = error
        self.arrived = time.perf_counter()
        self.close()
        self._wake()

    def _tick(self, armed: float) -> None:
        """Look whether something came since the timer was set; a timer a request is enough."""
        now = self._loop.time()
        last = max(armed, self._last_seen)
        if now >= self._end:
            self._fail(TooSlow("did not finish its answer in time"))
        elif now - last >= self._read and not self._is_paused:
            self._fail(TooSlow(f"sent nothing for {self._read:g} s"))
        else:
            due = now + self._read if self._is_paused else last + self._read
            self._timer = self._loop.call_at(min(due, self._end), self._tick, last)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    _last_seen = 0.0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's own classes

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.arrived = time.perf_counter()
        if not self._is_busy:
            # Nobody asked: whatever this is, the connection cannot be trusted any more.
            self.close()
            return
        self._began = True
        self._last_seen = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._error is None:
                self._fail(BackendError(f"sent what is no HTTP: {type(error).__name__}"))
            return
        if self._is_complete or (self._has_head and not self._whole):
            self._wake()
        if self._waiting_bytes > _HIGH and not self._whole and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        del exc
        self.closed = True
        self._stop_timer()
        if not self._is_busy or self._is_complete:
            return
        if self._has_head and self._is_until_close():
            self._is_complete = True
        elif self._error is None:
            clean = not self._began
            text = "closed the connection" if clean else "broke off its answer"
            self._error = ConnectionLost(text, clean=clean)
        self.arrived = time.perf_counter()
        self._wake()

    def _is_until_close(self) -> bool:
        names = {name for name, _ in self.headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._header_size += len(name) + len(value)
        if self._header_size > _HEADERS:
            self._fail(BackendError(f"sent more than {_HEADERS} bytes of headers"))
            return
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note the status, unless it is a provisional one."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status = status
        self._has_head = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self._size += len(data)
        if self._size > self._limit:
            self._fail(BackendError(f"sent more than {self._limit} bytes"))
            return
        self._pieces.append(data)
        self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._has_head:
            self._is_complete = True
            # Asked here, for the parser forgets once it is past the message.
            self._is_kept = bool(self._parser.should_keep_alive())
            self._stop_timer()

    def rest(self) -> None:
        """Be idle until the next request."""
        self._is_busy = False
        self._pieces.clear()
        self._waiting_bytes = 0

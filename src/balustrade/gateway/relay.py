"""A streamed answer on its way through: what every kind of stream does alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator

from balustrade.core.errors import BackendError, BalustradeError
from balustrade.gateway.sse import Events, error_event


class Relay(ABC):
    """Take upstream's events one by one, and pass on what they leave in `_out`.

    A kind of stream says what it does with an event, and sets `_is_over` once its last event is
    in `_out`.
    """

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._is_over = False

    async def run(self, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """Yield what may leave of what upstream sends; upstream is closed in every case."""
        events = Events()
        try:
            async for piece in pieces:
                for incoming in events.feed(piece):
                    await self._take(incoming.data)
                    if self._is_over:
                        break
                await self._flush()
                if self._is_over:
                    await pieces.aclose()
                    yield b"".join(self._out)
                    return
                if self._out:
                    yield b"".join(self._out)
                    self._out.clear()
            raise BackendError("upstream ended its stream before its answer was complete")
        except BalustradeError as error:
            yield await self._broken_off(error)
        finally:
            await pieces.aclose()
            if not self._is_over:
                await self._settle()

    async def _broken_off(self, error: BalustradeError) -> bytes:
        """Return the event that ends a stream which cannot go on."""
        try:
            await self._settle()
        except BalustradeError as second:
            error = second
        self._is_over = True
        return error_event(str(error))

    @abstractmethod
    async def _take(self, data: bytes) -> None:
        """Take one event of upstream."""

    @abstractmethod
    async def _settle(self) -> None:
        """Put on record what was judged of an answer that broke off."""

    async def _flush(self) -> None:  # noqa: B027 - most kinds judge each event at once
        """Judge what the events of one piece of upstream's stream left to be judged at once."""

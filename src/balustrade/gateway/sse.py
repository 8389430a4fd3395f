"""Server-sent events: what an upstream sends, in whatever pieces, and what a client is sent."""

from __future__ import annotations

from typing import NamedTuple

from balustrade.core.errors import BackendError
from balustrade.gateway.http import error_body

LIMIT = 1_000_000
"""Bytes that one event may have."""

DONE = b"data: [DONE]\n\n"
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event that carries data."""

    data: bytes
    name: bytes = b""


class Events:
    """Read events from pieces of a stream.

    Line ends of all three kinds are taken, comments and fields we do not use are passed over. What
    a stream that breaks off leaves unfinished is no event.

    Args:
        limit: Bytes that one event may have.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._name = b""
        self._is_first = True

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that this piece completes.

        Raises:
            BackendError: An event is larger than the limit.
        """
        text = self._rest + piece
        if self._is_first:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            text, self._is_first = text.removeprefix(_BOM), False
        if b"\r" in text:
            # A carriage return at the very end may be half of a line end.
            end = len(text) - text.endswith(b"\r")
            kept = text[end:]
            text = text[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + kept
        *lines, self._rest = text.split(b"\n")
        events: list[Event] = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                events.append(Event(b"\n".join(self._data), self._name))
                self._data, self._name, self._size = [], b"", 0
            else:
                self._name = b""
        self._expect_small(len(self._rest))
        return events

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._size += len(value)
            self._expect_small(0)
            self._data.append(value)
        elif field == b"event":
            self._name = value

    def _expect_small(self, more: int) -> None:
        if self._size + more > self._limit:
            raise BackendError(f"upstream sent an event of more than {self._limit} bytes")


def event(data: bytes, name: bytes = b"") -> bytes:
    """Return an event as it is sent; the data holds no line end."""
    if name:
        return b"event: %s\ndata: %s\n\n" % (name, data)
    return b"data: %s\n\n" % data


def error_event(message: str, kind: str = "upstream_error", code: str | None = None) -> bytes:
    """Return the event that ends a stream which cannot go on, in OpenAI's form."""
    return event(error_body(message, kind, code))

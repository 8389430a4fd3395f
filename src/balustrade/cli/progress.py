"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import IO

WIDTH = 30
PAUSE = 0.1
"""Seconds between two drawings."""


class Progress:
    """Draw rows done, share of the bytes, rows a second and the time left.

    Args:
        total: Bytes to read.
        stream: Where to draw; nothing is drawn if it is no terminal.
    """

    def __init__(self, total: int, stream: IO[str] | None = None) -> None:
        self._total = max(total, 1)
        self._stream = sys.stderr if stream is None else stream
        self._draws = self._stream.isatty()
        self._begun = self._drawn = time.monotonic()
        self._first: tuple[int, int] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def update(self, rows: int, read: int) -> None:
        """Show how far the work is: rows done, bytes read."""
        now = time.monotonic()
        if self._first is None:
            self._first = rows, read
            self._begun = now
        if self._draws and now - self._drawn >= PAUSE:
            self._drawn = now
            self._stream.write(f"\r\x1b[2K{self._line(rows, read, now - self._begun)}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the bar away, before something else is written."""
        if self._draws:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def _line(self, rows: int, read: int, seconds: float) -> str:
        first_rows, first_read = self._first or (0, 0)
        share = min(read / self._total, 1.0)
        full = round(share * WIDTH)
        rate = (rows - first_rows) / seconds if seconds else 0.0
        pace = (read - first_read) / seconds if seconds else 0.0
        left = duration((self._total - read) / pace) if pace else "?"
        bar = "━" * full + "─" * (WIDTH - full)
        return f"{bar} {share:4.0%}  {rows:,} rows  {rate:,.0f} rows/s  {left} left"


def duration(seconds: float) -> str:
    """Return a time as people say it: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

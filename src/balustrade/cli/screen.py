"""What a person sees: colours on a terminal, aligned columns, harmless characters."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import IO

RESET = "\x1b[0m"
CODES = {"bold": "\x1b[1m", "dim": "\x1b[2m", "mark": "\x1b[7;33m"}
OF_ACTION = {
    "allow": "\x1b[32m",
    "flag": "\x1b[33m",
    "redact": "\x1b[33m",
    "regenerate": "\x1b[31m",
    "escalate": "\x1b[31m",
    "block": "\x1b[1;31m",
}
KEPT = {"\n", "\t"}


class Screen:
    """A stream to print on; coloured only where it is a terminal and NO_COLOR is not set.

    Args:
        stream: Where to print; standard output if absent.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.colours = self.stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        """Print one line."""
        print(text, file=self.stream)

    def paint(self, text: str, style: str) -> str:
        """Return the text in a style (bold, dim, mark) or in the colour of an action."""
        code = CODES.get(style) or OF_ACTION.get(style, "")
        return f"{code}{text}{RESET}" if self.colours and code else text

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print aligned columns under a head; numbers to the right."""
        body = [[visible(cell) for cell in row] for row in rows]
        widths = [max(map(width, column)) for column in zip(head, *body, strict=True)]
        self.line(self.paint(_row(head, widths), "dim"))
        for row in body:
            self.line(_row(row, widths))

    def marked(self, text: str, spans: Iterable[tuple[int, int]]) -> str:
        """Return a text with its spans marked: in colour, or between »…« where there is none."""
        start, end = (CODES["mark"], RESET) if self.colours else ("»", "«")
        out, last = [], 0
        for first, after in merged(spans):
            out += [visible(text[last:first]), start, visible(text[first:after]), end]
            last = after
        return "".join([*out, visible(text[last:])])


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, those that overlap or touch as one."""
    out: list[tuple[int, int]] = []
    for first, after in sorted(spans):
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], after))
        else:
            out.append((first, after))
    return out


def visible(text: str) -> str:
    """Return a text whose control and format characters are written out.

    What is judged may be hostile: escape sequences would command the terminal, and bidirectional
    controls would show another text than the one that was judged.
    """
    return "".join(map(_shown, text)) if not text.isprintable() else text


def width(text: str) -> int:
    """Return how many columns a text takes: wide East Asian characters two, marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _shown(char: str) -> str:
    if char in KEPT or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co"}:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        " " * (size - width(cell)) + cell if _is_number(cell) else cell + " " * (size - width(cell))
        for cell, size in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "", 1).rstrip("%").isdigit()

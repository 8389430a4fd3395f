"""Cut a long text into overlapping windows, at white space where there is some."""

from __future__ import annotations

import re

_GAP = re.compile(r"\s")


def windows(text: str, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return the windows' spans, in order; together they cover every character.

    A window is cut after the last white space of its last quarter, and the next one starts
    `overlap` characters before the cut, or up to as many more as bring it to white space.

    Args:
        text: What to cut; one of at most `size` characters is one window.
        size: The most characters of a window.
        overlap: Characters that neighbours share at least, under half of `size`.
    """
    if size < 1 or not 0 <= overlap <= size // 2:
        raise ValueError(f"expected 0 <= overlap <= size / 2, found {overlap} and {size}")
    spans, start = [], 0
    while len(text) - start > size:
        end = _cut(text, start + size - size // 4, start + size)
        spans.append((start, end))
        back = max(end - overlap, start + 1)
        start = _cut(text, max(back - size // 8, start + 1), back) if overlap else end
    spans.append((start, len(text)))
    return spans


def _cut(text: str, first: int, last: int) -> int:
    """Return the place after the last white space in text[first:last], else `last`."""
    for match in _GAP.finditer(text[first:last][::-1]):
        return last - match.start()
    return last

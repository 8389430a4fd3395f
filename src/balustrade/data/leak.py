"""Find rows of one set that are copies of another's: equal, contained, or nearly the same.

Texts are compared by their letters and digits. Containment is found by looking for one text's
first `ANCHOR` characters at every place of the others; near copies by MinHash over character
shingles (Broder 1997) in bands, each candidate then checked by its true Jaccard index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.data.example import Example, Kind
from balustrade.data.split import plain

ANCHOR = 32
"""Shorter texts are compared for equality alone: common phrases contain one another."""
SHINGLE = 5
BANDS, ROWS = 16, 4
"""A pair of Jaccard index 0.7 shares a band with probability 0.988."""

U64 = NDArray[np.uint64]
_BLOCK = 2_000_000


class Leak(NamedTuple):
    """A training row that is a copy of a test row."""

    train: str
    test: str
    how: str
    share: float
    """Jaccard index of their shingles; 1.0 for equal texts."""


def leaks(train: Sequence[Example], test: Sequence[Example], similarity: float = 0.7) -> list[Leak]:
    """Return every copy, each pair once, in order of the training rows' IDs."""
    ours, theirs = _texts(train), _texts(test)
    found: dict[tuple[int, int], str] = {}
    for how, pairs in (
        ("equal", _equal(list(ours), list(theirs))),
        ("contains a test text", _inside(list(theirs), list(ours), swap=True)),
        ("is contained in a test text", _inside(list(ours), list(theirs), swap=False)),
        ("nearly the same", _near(list(ours), list(theirs), similarity)),
    ):
        for pair in pairs:
            found.setdefault(pair, how)
    mine, other = list(ours.items()), list(theirs.items())
    return sorted(
        Leak(mine[a][1], other[b][1], how, _jaccard(mine[a][0], other[b][0]))
        for (a, b), how in found.items()
    )


def _texts(examples: Sequence[Example]) -> dict[str, str]:
    """Map each distinct plain text to the first row that holds it; answers go with requests."""
    found: dict[str, str] = {}
    for example in examples:
        for text in _said(example):
            found.setdefault(text, example.id)
    found.pop("", None)
    return found


def _said(example: Example) -> Iterator[str]:
    yield plain(example.text)
    if example.kind is Kind.RESPONSE:
        yield plain(f"{example.text} {example.response}")


def _equal(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int]]:
    places = {text: place for place, text in enumerate(theirs)}
    yield from ((place, places[text]) for place, text in enumerate(ours) if text in places)


def _inside(small: Sequence[str], large: Sequence[str], *, swap: bool) -> Iterator[tuple[int, int]]:
    """Find which small texts stand inside which large ones."""
    anchors: dict[int, list[int]] = defaultdict(list)
    long_enough = [place for place, text in enumerate(small) if len(text) >= ANCHOR]
    heads = _hashes("".join(small[place][:ANCHOR] for place in long_enough), ANCHOR)[::ANCHOR]
    for place, key in zip(long_enough, heads.tolist(), strict=True):
        anchors[key].append(place)
    keys = np.array(sorted(anchors), np.uint64)
    for first, texts in _blocks(large):
        hashes = _hashes("\0".join(texts), ANCHOR)
        ends = np.cumsum([len(text) + 1 for text in texts])
        if not len(keys) or not len(hashes):
            continue
        slot = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        for place in np.flatnonzero(keys[slot] == hashes).tolist():
            owner = int(np.searchsorted(ends, place, side="right"))
            for candidate in anchors[int(hashes[place])]:
                if small[candidate] != texts[owner] and small[candidate] in texts[owner]:
                    pair = (candidate, first + owner)
                    yield (pair[1], pair[0]) if swap else pair


def _near(
    ours: Sequence[str], theirs: Sequence[str], similarity: float
) -> Iterator[tuple[int, int]]:
    mine, other = _signatures(ours), _signatures(theirs)
    for band in range(BANDS):
        columns = slice(band * ROWS, band * ROWS + ROWS)
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, row in enumerate(other[:, columns]):
            if row.any():
                buckets[row.tobytes()].append(place)
        for place, row in enumerate(mine[:, columns]):
            for candidate in buckets.get(row.tobytes(), ()):
                if _jaccard(ours[place], theirs[candidate]) >= similarity:
                    yield place, candidate


def _signatures(texts: Sequence[str]) -> U64:
    """Return each text's least hashes, shape (texts, BANDS * ROWS); zero for very short texts."""
    draw = np.random.default_rng(7)
    factors = draw.integers(1 << 63, size=BANDS * ROWS, dtype=np.uint64) * np.uint64(2)
    signature = np.zeros((len(texts), BANDS * ROWS), np.uint64)
    for first, block in _blocks(texts):
        sizes = np.array([len(text) for text in block])
        starts = np.cumsum(sizes + 1) - (sizes + 1)
        long_enough = np.flatnonzero(sizes >= SHINGLE)
        hashes = _hashes("\0".join(block) + "\0" * SHINGLE, SHINGLE)
        bounds = np.column_stack([starts, starts + sizes - SHINGLE + 1])[long_enough].ravel()
        for column, factor in enumerate(factors if len(bounds) else ()):
            mixed = hashes * (factor + np.uint64(1))
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            signature[first + long_enough, column] = np.minimum.reduceat(mixed, bounds)[::2]
    return signature


def _hashes(text: str, width: int) -> U64:
    """Hash every stretch of `width` characters."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = codes.astype(np.uint64) + np.uint64(1)
    count = max(len(codes) - width + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for offset in range(width):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += codes[offset : offset + count]
    return hashes ^ (hashes >> np.uint64(31))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    first, block, size = 0, list[str](), 0
    for place, text in enumerate(texts):
        block.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield first, block
            first, block, size = place + 1, [], 0
    if block:
        yield first, block


def _jaccard(left: str, right: str) -> float:
    one, two = (
        {text[i : i + SHINGLE] for i in range(max(len(text) - SHINGLE + 1, 1))}
        for text in (left, right)
    )
    return len(one & two) / len(one | two)

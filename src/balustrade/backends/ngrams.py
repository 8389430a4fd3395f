"""Hash every character n-gram, word and word sequence of many texts in a few array operations.

A text becomes code points c_0, c_1, ...; H_i = sum of c_j B^j for j < i, modulo 2^64, B odd. Any
stretch from i to e then has the hash (H_e - H_i) B^-i, whatever stands before it: a multilinear
hash with random multipliers, of which the top bits choose the bucket. No loop runs over
characters, and a text's buckets do not depend on the batch it travels in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ORDERS = (3, 4, 5)
"""Lengths of the character n-grams."""

SEQUENCES = 3
"""Longest sequence of words."""

KINDS = len(ORDERS) + SEQUENCES
GROUPS = 2
"""Characters and words are pooled apart, each over the root of its own count."""

_START = "\x02 "
_END = " " + "\0" * max(ORDERS)
_GAP = np.arange(1, max(ORDERS) + 1)
_CHAR_KINDS = np.arange(len(ORDERS))[:, None]
_WORD_KINDS = np.arange(SEQUENCES)[:, None]
_BASE = 0x9E3779B97F4A7C15 | 1
_WORD = (
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0xA0761D6478BD642F),
    np.uint64(0xE7037ED1A0B428DB),
)
_STEP = np.uint64(0x8EBC6AF09C88C6E3)
_MIX = 0xBF58476D1CE4E5B9

U64 = NDArray[np.uint64]


class Segments(NamedTuple):
    """Hashes of a batch: `starts[k, t]` is where kind k of text t begins in `hashes`."""

    hashes: U64
    """Full 64-bit hashes; the top bits are the bucket, and 0 stands for nothing."""
    starts: NDArray[np.int64]
    """Shape (kinds, texts): the character orders, then words, pairs and triples of words."""
    counts: NDArray[np.int64]
    """Shape (groups, texts): how many hashes each text has of characters and of words."""


def fold(text: str) -> str:
    """Return the form in which a text is judged: compatible, lower case, single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().replace("\0", " ").split())


def segments(texts: Sequence[str]) -> Segments:
    """Hash a batch of at least one folded text."""
    joined = _START + (_END + _START).join(texts) + _END
    chars = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + len(_START) + len(_END)
    firsts = lengths.cumsum() - lengths
    size = len(chars)
    powers, inverses = _powers(size)
    prefix = np.zeros(size + 1, np.uint64)
    (chars * powers[:size]).cumsum(out=prefix[1:])
    begins, ends = _words(chars)
    words = (prefix[ends] - prefix[begins]) * inverses[begins]
    hashes = np.zeros(len(ORDERS) * size + SEQUENCES * len(words), np.uint64)
    for place, order in enumerate(ORDERS):
        reach = size + 1 - order
        part = hashes[place * size : place * size + reach]
        np.subtract(prefix[order:], prefix[:reach], out=part)
        part *= inverses[:reach]
    if len(texts) > 1:
        gaps = (firsts + lengths)[:, None] - _GAP
        hashes[: len(ORDERS) * size].reshape(len(ORDERS), size)[:, gaps] = 0
    base = len(ORDERS) * size
    opens = chars[begins] == ord(_START[0])
    _sequences(words, opens, hashes[base:])
    word_firsts = begins.searchsorted(firsts)
    starts = np.empty((KINDS, len(texts)), np.int64)
    np.add(firsts, size * _CHAR_KINDS, out=starts[: len(ORDERS)])
    np.add(word_firsts, base + len(words) * _WORD_KINDS, out=starts[len(ORDERS) :])
    counts = np.empty((GROUPS, len(texts)), np.int64)
    np.subtract(lengths, len(_END), out=counts[0])
    np.subtract(word_firsts[1:], word_firsts[:-1], out=counts[1, :-1])
    counts[1, -1] = len(words) - word_firsts[-1]
    return Segments(hashes, starts, counts)


def _sequences(words: U64, opens: NDArray[np.bool_], out: U64) -> None:
    """Hash single words, pairs and triples; none crosses into the next text."""
    count = len(words)
    np.multiply(words, _WORD[0], out=out[:count])
    running, blocked = words, opens
    for place in range(1, SEQUENCES):
        running = running[:-1] * _STEP + words[place:]
        blocked = opens[place:] if place == 1 else blocked[:-1] | opens[place:]
        part = out[place * count : place * count + len(running)]
        np.multiply(running, _WORD[place], out=part)
        part[blocked] = 0


def _words(chars: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where words begin and end; scripts without spaces give a word a character."""
    classes = _classes().take(chars, mode="clip")
    letter = classes == 1
    begin, end = classes > 0, classes > 0
    both = letter[1:] & letter[:-1]
    begin[1:] ^= both
    end[:-1] ^= both
    return begin.nonzero()[0], end.nonzero()[0] + 1


_SEPARATORS = (
    (0x00, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0xA9),
    (0xAB, 0xB4),
    (0xB6, 0xB9),
    (0xBB, 0xBF),
    (0xD7, 0xD7),
    (0xF7, 0xF7),
    (0x60C, 0x60C),
    (0x61B, 0x61F),
    (0x6D4, 0x6D4),
    (0x964, 0x965),
    (0x2000, 0x206F),
    (0x20A0, 0x20CF),
    (0x2190, 0x2BFF),
    (0x2E00, 0x2E7F),
    (0x3000, 0x3004),
    (0x3008, 0x3020),
    (0xFE10, 0xFE6F),
    (0xFF00, 0xFF0F),
    (0xFF1A, 0xFF20),
)
_SINGLE = (
    (0x02, 0x02),
    (0xE00, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0xFFFF, 0xFFFF),
)


@cache
def _classes() -> NDArray[np.uint8]:
    """Class of each code point up to 0xFFFF: 0 between words, 1 in a word, 2 a word of its own.

    Written out, not asked of the Unicode tables, so that no version of them moves a hash.
    """
    table = np.ones(0x10000, np.uint8)
    for value, ranges in ((0, _SEPARATORS), (2, _SINGLE)):
        for first, last in ranges:
            table[first : last + 1] = value
    return table


def _powers(size: int) -> tuple[U64, U64]:
    """Return B^i, and B^-i times the mixing constant, for at least the first `size` numbers."""
    return _power_table(max(16, (size - 1).bit_length()))


@cache
def _power_table(bits: int) -> tuple[U64, U64]:
    inverse = pow(_BASE, -1, 1 << 64)
    powers = np.full(1 << bits, _BASE, np.uint64)
    inverses = np.full(1 << bits, inverse, np.uint64)
    powers[0], inverses[0] = 1, _MIX
    return np.cumprod(powers, dtype=np.uint64), np.cumprod(inverses, dtype=np.uint64)

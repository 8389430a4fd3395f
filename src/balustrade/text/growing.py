"""Cut a growing text into words, each for good once it is whole."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 64
"""Characters without a gap after which a word is taken to have ended."""

DENSE = 8
"""The same for scripts that write no gaps between words."""

GAPLESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff60"
)
"""Those scripts, as a class of a pattern: Thai and its neighbours, Burmese, Khmer, kana, Han, and
their wide signs."""

SENTENCE_END = r"[.!?\u2026\u3002\uff01\uff1f\u0964\u061f]['\"\u2019\u201d)\]\u300d]*"
"""What a sentence ends with, as a pattern: a stop of any script, and what closes behind it."""

_WORD = re.compile(
    rf"[^\s{GAPLESS}]{{{LONGEST}}}|[^\s{GAPLESS}]++(?=.)|[{GAPLESS}]{{{DENSE}}}|[{GAPLESS}]++(?=.)",
    re.DOTALL,
)
_REST = re.compile(r"\S+")


class Word(NamedTuple):
    """A stretch of text without gaps, and where it stands."""

    start: int
    end: int
    text: str


def whole(text: str) -> list[Word]:
    """Return the words of a text that more text cannot change, in order.

    A word is whole once a gap or another script follows, or when it is as long as a word may be.
    Cut off behind any of them, and the rest has the same words as before.
    """
    return [Word(*match.span(), match[0]) for match in _WORD.finditer(text)]


def every(text: str) -> list[Word]:
    """Return the words of a text that ends here."""
    words = whole(text)
    return words + last(text, words[-1].end if words else 0)


def last(text: str, start: int) -> list[Word]:
    """Return what stands open at the end of a text, from `start` on, as a word."""
    return [Word(*match.span(), match[0]) for match in _REST.finditer(text, start)]

"""Cut a growing text into words, each for good once it is whole."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 64
"""Characters without a gap after which a word is taken to have ended."""

DENSE = 8
"""The same for scripts that write no gaps between words."""

# Thai and its neighbours, Burmese, Khmer, kana, Han, and their wide signs.
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff60"
)
_WORD = re.compile(
    rf"[^\s{_DENSE}]{{{LONGEST}}}|[^\s{_DENSE}]++(?=.)|[{_DENSE}]{{{DENSE}}}|[{_DENSE}]++(?=.)",
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


def last(text: str, start: int) -> list[Word]:
    """Return what stands open at the end of a text, from `start` on, as a word."""
    return [Word(*match.span(), match[0]) for match in _REST.finditer(text, start)]

"""Where a growing text is judged again: places that the text alone determines, not its chunks."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from balustrade.text.growing import GAPLESS, LONGEST, SENTENCE_END

Cadence = Literal["chunk", "word", "sentence"]

LONGEST_SENTENCE = 400
"""Characters after which a sentence is judged at the next word's end, though it goes on."""

LARGEST_STEP = 24
"""Words that a growing step between two judgements may reach."""

# Of scripts without gaps, each character ends a word.
_WORD = re.compile(
    rf"[^\s{GAPLESS}]{{{LONGEST}}}|[^\s{GAPLESS}]{{1,{LONGEST - 1}}}+(?=[\s{GAPLESS}])|[{GAPLESS}]"
)
_SENTENCE = re.compile(SENTENCE_END + r"\Z")


class Place(NamedTuple):
    """A place in a text: how many words end up to it, and where it is."""

    words: int
    end: int


def first_due(text: str, since: Place, last: Place, every: Cadence) -> tuple[Place, bool]:
    """Return the first place after `since` where the text is due to be judged.

    Args:
        text: The text so far.
        since: The last word's end that was looked at.
        last: Where it was judged last.
        every: How often.

    Returns:
        That place and True, or the last word's end and False if no place is due yet.
    """
    for match in _WORD.finditer(text, since.end):
        since = Place(since.words + 1, match.end())
        if is_due(text, since, last, every):
            return since, True
    return since, False


def is_due(text: str, here: Place, last: Place, every: Cadence) -> bool:
    """Whether the end of a word is a place to judge at."""
    if every == "chunk":
        return True
    if every == "word":
        return here.words > 1 and here.words - last.words > min(last.words // 2, LARGEST_STEP - 1)
    return here.end - last.end >= LONGEST_SENTENCE or bool(
        _SENTENCE.search(text, max(0, here.end - 4), here.end)
    )

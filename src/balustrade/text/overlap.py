"""Strip from a continuation what it repeats of the text it was to go on from."""

from __future__ import annotations

import re

from balustrade.text.growing import SENTENCE_END

_SPACE = re.compile(r"\s+")
_STARTS = re.compile(SENTENCE_END + r"\s*")
SHORTEST = 12
"""Characters that a repeated end must have; a shorter one may be meant to be said again."""


class Overlap:
    """Take a continuation in chunks; hold its beginning until it is clear whether it repeats.

    Repeated is what begins the continuation and is the whole text said before, or its end from the
    beginning of a sentence on, whatever the white space.

    Args:
        said: The text said before.
        is_spaced: Whether a gap stands after it already, so that the continuation needs none.
    """

    def __init__(self, said: str, *, is_spaced: bool) -> None:
        starts = [0, *(match.end() for match in _STARTS.finditer(said))]
        ends = [_squeezed(said[start:]) for start in starts]
        self._ends = [e for n, e in enumerate(ends) if e and (n == 0 or len(e) >= SHORTEST)]
        self._is_spaced = is_spaced
        self._held = ""
        self._is_open = bool(self._ends)

    def feed(self, chunk: str) -> str:
        """Return what is new of the continuation so far, and was not returned before."""
        if not self._is_open:
            return chunk
        self._held += chunk
        known = _squeezed(self._held)
        if any(len(end) >= len(known) and end.startswith(known) for end in self._ends):
            return ""
        return self.finish()

    def finish(self) -> str:
        """Return what is new of what is still held: the continuation has ended, or is clear."""
        text, self._held = self._held, ""
        if not self._is_open:
            return text
        self._is_open = False
        known = _squeezed(text)
        repeated = max((end for end in self._ends if known.startswith(end)), key=len, default="")
        rest = text[_length(text, len(repeated)) :] if repeated else text
        return rest.lstrip(" \t") if self._is_spaced else rest


def _squeezed(text: str) -> str:
    return _SPACE.sub(" ", text.strip())


def _length(text: str, squeezed: int) -> int:
    """Return how many characters of a text its first `squeezed` ones are without its gaps."""
    start = len(text) - len(text.lstrip())
    for seen, match in enumerate(re.finditer(r"\s+|\S", text[start:]), 1):
        if seen == squeezed:
            return start + match.end()
    return len(text)

"""Fold a text to the letters a reader takes it for, with a way back to where they stood.

Compatibility forms (full width, mathematical, circled, ligatures) become plain letters; invisible
characters go; stacks of combining marks are cut. Look-alikes of other scripts become Latin only
where that makes a word whole: "pаssword" with a Cyrillic a is folded, "пароль" never, and
"убийcтво" with a Latin c becomes Cyrillic. A word made of look-alikes alone is folded if the text
holds Latin words and no real word of that script.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, lru_cache

from msgspec import Struct

from balustrade.text.alphabet import Alphabet, alphabet
from balustrade.text.confusables import ALWAYS
from balustrade.text.scripts import fold_scripts

MARKS = 4
"""How many combining marks a letter keeps; no orthography needs more."""

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Zero-width, bidirectional, filler, variation and tag characters, as the inside of a class."""

_CONTROLS = bytes(n for n in (*range(32), 127) if n not in b"\t\n\r")
_GONE = re.compile(f"[{INVISIBLE}\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]+")
_GENERIC = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_STRUCK = re.compile(f"(?<=[A-Za-z])[{_GENERIC}]+")
_SHORT = 16


class Layer(Struct, frozen=True):
    """One pass over a text: runs of the result, and the runs they came from.

    Run n reaches from `starts[n]` to `starts[n + 1]` and came from `origins[n]` to
    `origins[n + 1]`; runs of equal size correspond letter by letter, others as a whole.
    """

    starts: array[int]
    origins: array[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the span before the pass that a span after it stands for."""
        first = self._first(start)
        return (first, first) if end <= start else (first, self._last(end))

    def _first(self, position: int) -> int:
        run = bisect_right(self.starts, position) - 1
        origin = self.origins[run]
        return origin + position - self.starts[run] if self._is_even(run) else origin

    def _last(self, position: int) -> int:
        run = bisect_right(self.starts, position - 1) - 1
        if self._is_even(run):
            return self.origins[run] + position - self.starts[run]
        return self.origins[run + 1]

    def _is_even(self, run: int) -> bool:
        if run + 1 == len(self.starts):
            return True
        size = self.starts[run + 1] - self.starts[run]
        return size == self.origins[run + 1] - self.origins[run]


class Normalised(Struct, frozen=True):
    """A folded text; no layers if every letter stands where it stood."""

    text: str
    layers: tuple[Layer, ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that the span of the folded text stands for.

        Letters that became one, or that one became, are taken as a whole.
        """
        for layer in reversed(self.layers):
            start, end = layer.original(start, end)
        return start, end


def normalise(text: str) -> Normalised:
    """Return the text as it reads; what already reads so comes back as it is."""
    if text.isascii():
        raw = text.encode()
        if len(raw.translate(None, _CONTROLS)) == len(raw):
            return Normalised(text)
    layers = []
    if _GONE.search(text):
        text, layer = _remove(text)
        layers.append(layer)
    if not text.isascii():
        if _needs_folding(text):
            text, layer = _fold(text)
            layers.append(layer)
        scripts = fold_scripts(text)
        if scripts is not text and _needs_folding(scripts):
            # A mark that joins no Cyrillic letter may join the Latin one that now stands there.
            scripts, layer = _fold(scripts)
            layers.append(layer)
        text = scripts
    return Normalised(text, tuple(layers))


def _needs_folding(text: str) -> bool:
    # The stacks are looked for first: asking Unicode about a long one takes quadratic time.
    # A class alone is searched for much faster than a class with something beside it.
    if any(sign.search(text) and full.search(text) for sign, full in _suspects(alphabet(text))):
        return True
    return not unicodedata.is_normalized("NFKC", text)


def _remove(text: str) -> tuple[str, Layer]:
    pieces: list[str] = []
    starts, origins = [0], [0]
    here = done = 0
    for match in _GONE.finditer(text):
        first, last = match.span()
        pieces.append(text[done:first])
        here += first - done
        starts += (here, here)
        origins += (first, last)
        done = last
    pieces.append(text[done:])
    starts.append(here + len(text) - done)
    origins.append(len(text))
    return "".join(pieces), Layer(array("I", starts), array("I", origins))


def _fold(text: str) -> tuple[str, Layer]:
    pieces: list[str] = []
    starts, origins = [0], [0]
    here = done = 0
    for match in _runs(text):
        first, last = match.span()
        run = match[0]
        if match.lastgroup and first > done:
            # What combines takes the letter before it along.
            first -= 1
            run = text[first:last]
        folded = _short(run) if len(run) <= _SHORT else _long(run)
        if folded == run:
            continue
        pieces += (text[done:first], folded)
        here += first - done
        starts += (here, here + len(folded))
        origins += (first, last)
        here += len(folded)
        done = last
    pieces.append(text[done:])
    starts.append(here + len(text) - done)
    origins.append(len(text))
    return "".join(pieces), Layer(array("I", starts), array("I", origins))


def _runs(text: str) -> Iterator[re.Match[str]]:
    known = alphabet(text)
    for stretch in known.stretches.finditer(text):
        yield from known.runs.finditer(text, *stretch.span())


def _long(run: str) -> str:
    """Fold until nothing changes: cutting a stack may bring together what composes."""
    stack, raw = _stacks()
    for _ in range(8):
        # Normalising sorts marks in quadratic time, so a stack is cut before and after.
        text = unicodedata.normalize("NFKC", raw.sub(r"\1", run)).translate(ALWAYS)
        text = stack.sub(r"\1", _STRUCK.sub("", text))
        if text == run:
            break
        run = text
    return run


_short = lru_cache(maxsize=8192)(_long)


@cache
def _stacks() -> tuple[re.Pattern[str], re.Pattern[str]]:
    marks = alphabet("\U00010000").marks
    return re.compile(f"([{marks}]{{{MARKS}}})[{marks}]+"), re.compile(
        f"([{marks}]{{32}})[{marks}]+"
    )


@cache
def _suspects(known: Alphabet) -> tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]:
    """Return signs of what must be folded, each with the pattern that makes sure."""
    always = re.compile(f"[{known.always}]")
    marks = f"[{known.marks}]"
    return (
        (always, always),
        (re.compile(f"[{_GENERIC}]"), re.compile(f"[A-Za-z][{_GENERIC}]")),
        (re.compile(marks), re.compile(marks + f"{{{MARKS + 1}}}")),
    )

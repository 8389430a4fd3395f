"""Flag content that holds any of a list of words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Annotated, Any, NamedTuple

import re2
from msgspec import Meta

from balustrade.core.call import Flow, compute
from balustrade.core.content import Content, kind, words
from balustrade.core.errors import ContentError, PatternError
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.text.ending import FURTHEST, unsettled
from balustrade.text.normalise import normalise
from balustrade.text.views import View, disguise, views

Word = Annotated[str, Meta(min_length=1, max_length=200)]

_WORD = r"\p{L}\p{N}\p{M}_"
_MEMORY = 256 << 20
_DISGUISE = 4
"""How many characters of a stream may stand for one of a word, invisible ones included."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x9FFF),  # Chinese, Japanese
    (0xAC00, 0xD7AF),  # Korean, where endings cling to words
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class Keywords(Spec, frozen=True, dict=True):
    """Match whole words, without regard to case, as a reader sees them.

    A word of a script that is written without spaces matches inside running text. Disguised
    letters (full width, look-alikes, invisible characters between) match too, and so do words
    that are encoded, spaced out or in leetspeak, unless `normalise` is off. In a stream a run of
    more than 2,048 characters is decoded only if it comes in one piece, and so is text in ROT13
    or written backward, which shows in many words only.

    Fails: on a text of more than 4,000,000 characters, or one whose decoded copies grow without
    measure, unless `normalise` is off; text of any script is judged in linear time.
    """

    words: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=100_000)]
    """What to look for; the longest match wins."""

    category: str = "custom"
    name: str = "keywords"
    normalise: bool = True

    def __post_init__(self) -> None:
        _compile(self.words, self.normalise)

    @property
    def judges(self) -> frozenset[str]:
        """Texts and the arguments of tool calls."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """Microseconds."""
        return Latency.MICROSECONDS

    @property
    def reach(self) -> int:
        """Whether a match begins a word shows shortly before it."""
        return _DISGUISE * _DISGUISE

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Report every match with its place."""
        return compute(self._judge, batch, work=sum(len(content.text) for content in batch))

    def open_at(self, text: str, /) -> int:
        """Return where the end begins that may yet grow into a match."""
        place = unsettled(text) if self.normalise else len(text)
        start = max(place - self._longest * _DISGUISE, 0)
        if start and self.normalise:
            start = text.rfind(" ", max(start - FURTHEST, 0), start) + 1 or start
        opened = (self._opened(view) for view in self._readings(text[start:place]))
        return min([place, *(start + at for at in opened if at is not None)])

    def _opened(self, view: View) -> int | None:
        """Return where a word begins in the original that the reading ends in."""
        tail = _lowered(view.text)
        for place in range(max(len(tail) - self._longest, 0), len(tail)):
            if tail[place:] in self._beginnings and _may_begin(tail, place):
                return view.original(place, place + 1)[0]
        return None

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        folded = _spellings(self.words, self.normalise)
        return frozenset(word[:size] for word in folded for size in range(1, len(word) + 1))

    @cached_property
    def _longest(self) -> int:
        return max(map(len, _spellings(self.words, self.normalise)))

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [self._verdict(content) for content in batch]

    def _verdict(self, content: Content) -> Verdict:
        try:
            return Verdict(self.name, tuple(self._findings(content)))
        except ContentError as error:
            return Verdict(self.name, error=str(error))

    def _findings(self, content: Content) -> Iterator[Finding]:
        for number, part in enumerate(content.parts):
            if kind(part) in TEXT:
                for (start, end), how in self._places(words(part)).items():
                    yield Finding(self.category, 1.0, Span(number, start, end), note=disguise(how))

    def _places(self, text: str) -> dict[tuple[int, int], tuple[str, ...]]:
        """Return each place once, with what was undone to read it, as little as will do."""
        pattern = _compile(self.words, self.normalise)
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for view in self._readings(text):
            for start, end in _matches(pattern, view.text):
                found.setdefault(view.original(start, end), view.through(start, end))
        return found

    def _readings(self, text: str) -> list[View]:
        return views(text) if self.normalise else [View(text)]


class _Place(NamedTuple):
    start: int
    end: int


def _spellings(listed: tuple[str, ...], fold: bool) -> list[str]:
    return [_lowered(normalise(word).text if fold else word) for word in listed]


def _lowered(text: str) -> str:
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)


@cache
def _compile(listed: tuple[str, ...], fold: bool) -> Any:  # noqa: ANN401 - re2 has no types
    """Return one pattern for all words; look-around is not linear, so edges are consumed."""
    groups: dict[tuple[bool, bool], list[str]] = {}
    for word in sorted(set(_spellings(listed, fold)), key=len, reverse=True):
        if not word.strip():
            raise PatternError(f"keyword {word!r} holds nothing to look for")
        edges = (_clings(word[0]), _clings(word[-1]))
        groups.setdefault(edges, []).append(re2.escape(word))
    before, after = f"(?:^|[^{_WORD}])", f"(?:$|[^{_WORD}])"
    parts = [
        f"{before if left else ''}({'|'.join(found)}){after if right else ''}"
        for (left, right), found in sorted(groups.items(), reverse=True)
    ]
    options = re2.Options()
    options.max_mem = _MEMORY
    options.case_sensitive = False
    options.log_errors = False
    try:
        return re2.compile("|".join(parts), options=options)
    except re2.error as error:
        raise PatternError(f"{len(listed)} keywords are too many for one guard: {error}") from error


def _clings(letter: str) -> bool:
    """Whether a letter belongs to a longer word where another stands beside it."""
    if any(first <= ord(letter) <= last for first, last in _UNSPACED):
        return False
    return _is_letter(letter)


def _is_letter(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def _may_begin(tail: str, place: int) -> bool:
    return place == 0 or not _is_letter(tail[place - 1]) or not _clings(tail[place])


def _matches(pattern: Any, text: str) -> Iterator[_Place]:  # noqa: ANN401 - re2 has no types
    raw = text.encode("utf-8", "surrogatepass")
    is_plain = len(raw) == len(text)
    position = counted = points = 0
    while found := pattern.search(raw, position):
        start, end = next(
            span for number in range(1, pattern.groups + 1) if (span := found.span(number))[0] >= 0
        )
        position = end
        if is_plain:
            yield _Place(start, end)
            continue
        points += len(raw[counted:start].decode("utf-8", "surrogatepass"))
        size = len(raw[start:end].decode("utf-8", "surrogatepass"))
        yield _Place(points, points + size)
        points += size
        counted = end

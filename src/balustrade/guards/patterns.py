"""Find personal data and secrets by pattern and checksum, in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated

import re2
from msgspec import Meta

from balustrade.core.call import Flow, compute
from balustrade.core.content import Content, kind, words
from balustrade.core.errors import ContentError, PatternError, UnknownNameError
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Probability, Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.guards.entities import CATEGORIES, ENTITIES, NAMES
from balustrade.guards.entities.entity import Candidate, Entity
from balustrade.guards.entities.scan import Hit, Scanner, apart, scanner
from balustrade.text.views import disguise, views

REACH = 256
"""Characters before a match that may decide whether it is one: a name such as `password:`."""

_BLOCK = re.compile(r"-----BEGIN[^-]{0,40}(?:-(?!----END)[^-]*)*\Z|-{1,5}\Z|-----B[A-Z ]{0,40}\Z")
_RUN = re.compile(r"[!-~\u2000-\u206f\uff01-\uff5e\U0001d400-\U0001d7ff]*")
_WORD_BEGUN = re.compile(r"[a-z]{3,}\Z")
_PLAIN = re.compile(r"[(\"']?[A-Za-z]?[a-z']+(?:-[a-z]+)*[,.;!?)\"']*\Z")


class CustomPattern(Spec, frozen=True):
    """A pattern of the policy's author, in RE2's syntax; its only group, if any, is the thing."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    pattern: Annotated[str, Meta(min_length=1, max_length=10_000)]
    category: str = "custom"
    score: Probability = 0.9


class Patterns(Spec, frozen=True, dict=True):
    """Report personal data and secrets with their places; the note names the kind of thing.

    What has a checksum is tested by it. Disguised text (full width, invisible characters) is read
    as it appears too, and encoded text (base64, hexadecimal, URL encoding) as what it says.
    Patterns run on RE2: the time is linear in the text, whatever the pattern.

    Fails: on a text with more than 50,000 places that must be tested, of more than 4,000,000
    characters, or whose decoded copies grow without measure; such a text is refused.
    """

    entities: tuple[str, ...] = ()
    """Names or categories of what to look for; everything built in if none is given."""

    custom: tuple[CustomPattern, ...] = ()
    name: str = "patterns"
    min_score: Probability = 0.5
    """Less sure findings are not reported."""

    normalise: bool = True

    def __post_init__(self) -> None:
        for wanted in self.entities:
            if wanted not in NAMES and wanted not in CATEGORIES:
                known = {*NAMES, *CATEGORIES}
                raise UnknownNameError("entity", wanted, get_close_matches(wanted, known, n=2))
        for own in self.custom:
            _expect_linear(own)

    @property
    def judges(self) -> frozenset[str]:
        """Text and the arguments of tool calls."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """Microseconds."""
        return Latency.MICROSECONDS

    @property
    def categories(self) -> tuple[str, ...]:
        """What it may report."""
        return tuple(dict.fromkeys(entity.category for entity in self._wanted))

    @property
    def reach(self) -> int:
        """Characters before an open place that may bear on the findings after it."""
        return REACH

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Report every match with its place."""
        return compute(self._judge, batch, work=sum(len(content.text) for content in batch))

    def open_at(self, text: str, /) -> int:
        """Return where the end begins that may yet grow into a match.

        Open is the last unbroken run of characters, and before it every word that is not plain:
        numbers, codes and names with signs in them may be the first half of something, unless
        three small letters have begun a word since. With patterns of the author's own, which may
        hold any words, the last `REACH` characters are open.
        """
        if self.custom:
            return max(len(text) - REACH, 0)
        block = _BLOCK.search(text)
        place = _run_at(text)
        # Nothing known goes on after a gap with a word of small letters.
        while place and not _WORD_BEGUN.match(text, place):
            least = max(place - REACH, 0)
            before = text[least:place].rstrip()
            start = _run_at(before)
            is_plain = start == len(before) or _PLAIN.match(before, start)
            if is_plain or len(text) - place > 8 * REACH:
                break
            place = least + start
        return min(place, block.start()) if block else place

    @cached_property
    def _wanted(self) -> tuple[Entity, ...]:
        own = tuple(_entity(custom) for custom in self.custom)
        if not self.entities:
            return (*ENTITIES, *own)
        chosen = {*self.entities}
        found = (entity for entity in ENTITIES if {entity.name, entity.category} & chosen)
        return (*found, *own)

    @cached_property
    def _scanner(self) -> Scanner:
        return scanner(self._wanted)

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [self._verdict(content) for content in batch]

    def _verdict(self, content: Content) -> Verdict:
        try:
            return Verdict(self.name, tuple(self._findings(content)))
        except ContentError as error:
            return Verdict(self.name, error=str(error))

    def _findings(self, content: Content) -> Iterator[Finding]:
        for number, part in enumerate(content.parts):
            if kind(part) not in TEXT:
                continue
            for hit in self._hits(words(part)):
                if hit.score >= self.min_score:
                    note = ", ".join(filter(None, (hit.entity.title, disguise(hit.how))))
                    span = Span(number, hit.start, hit.end)
                    yield Finding(hit.entity.category, hit.score, span, note=note)

    def _hits(self, text: str) -> list[Hit]:
        hits = self._scanner.scan(text)
        if not self.normalise:
            return hits
        more: list[Hit] = []
        for view in views(text, guesses=False):
            if view.text == text:
                continue
            for hit in self._scanner.scan(view.text):
                start, end = view.original(hit.start, hit.end)
                how = view.through(hit.start, hit.end)
                more.append(Hit(start, end, hit.score, hit.entity, how))
        return apart([*hits, *more]) if more else hits


def _run_at(text: str) -> int:
    """Return where the unbroken run begins that the text ends in, else its length."""
    # Read backwards: a search from the front would try every run before the last.
    run = _RUN.match(text[::-1])
    return len(text) - (run.end() if run else 0)


def _entity(custom: CustomPattern) -> Entity:
    def score(_: Candidate) -> float:
        return custom.score

    return Entity(custom.name, custom.category, custom.name, custom.pattern, score, is_own=True)


def _expect_linear(custom: CustomPattern) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(custom.pattern, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(
            f"pattern {custom.name!r} cannot be matched in linear time: {reason}"
        ) from error
    if compiled.groups > 1:
        raise PatternError(
            f"pattern {custom.name!r} has {compiled.groups} groups, expected at most one: "
            "write (?:...) for those that only group"
        )
    if compiled.search(""):
        raise PatternError(
            f"pattern {custom.name!r} matches the empty text, so it matches anywhere"
        )

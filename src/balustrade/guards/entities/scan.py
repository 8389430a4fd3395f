"""Find entities in one text: one pass tells which patterns match, then only those are located."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import re2

from balustrade.core.errors import ContentError
from balustrade.guards.entities.entity import Candidate, Entity

CANDIDATES = 50_000
"""How many places of one text are tested; a text that holds more is refused."""

WORK = 100_000_000
"""Bytes that matching one of the author's own patterns may read of one text at its leisure."""

REACH = 8_192
"""Bytes each further match may read; half as many are then found of a match for certain."""

_MEMORY = 64 << 20
_NEAR, _AFTER = 32, 8
_RETRY = 64


class Hit(NamedTuple):
    """An entity found, in code points of the text."""

    start: int
    end: int
    score: float
    entity: Entity
    how: tuple[str, ...] = ()
    """What was undone to read it."""


class Scanner:
    """Compiled entities; safe to share between threads."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._entities = tuple(entities)
        self._patterns = [re2.compile(entity.pattern) for entity in entities]
        options = re2.Options()
        options.max_mem = _MEMORY
        self._set = re2.Set.SearchSet(options)
        for entity in entities:
            self._set.Add(entity.pattern)
        # The empty pattern always matches: no answer at all means that memory ran out.
        self._set.Add("")
        self._set.Compile()

    def scan(self, text: str) -> list[Hit]:
        """Return what is there, in order, without overlaps: the surest and longest win.

        Raises:
            ContentError: More than `CANDIDATES` places had to be tested.
        """
        raw = text.encode("utf-8", "surrogatepass")
        numbers = self._set.Match(raw)
        if numbers is not None and len(numbers) == 1:
            return []
        if numbers is None:
            numbers = list(range(len(self._entities) + 1))
        tested = 0
        hits: list[Hit] = []
        for number in numbers:
            if number == len(self._entities):
                continue
            for hit in self._locate(raw, number):
                tested += 1
                if tested > CANDIDATES:
                    raise ContentError(
                        f"expected at most {CANDIDATES:,} places that patterns must test, "
                        "found more: send the text in parts"
                    )
                if hit is not None:
                    hits.append(hit)
        hits = apart(hits)
        return hits if len(raw) == len(text) else list(_in_code_points(raw, hits))

    def _locate(self, raw: bytes, number: int) -> Iterator[Hit | None]:
        entity, pattern = self._entities[number], self._patterns[number]
        search, groups = pattern.search, range(1, pattern.groups + 1)
        if entity.is_own:
            search = _bounded(search)
        position = 0
        while match := search(raw, position):
            start, end = match.span(next((n for n in groups if match.start(n) >= 0), 0))
            hit = _judge(entity, raw, start, end)
            yield hit
            if hit is not None:
                position = max(hit.end, match.start() + 1)
            else:
                # A shorter thing may begin inside what was no thing as a whole.
                first, last = match.span()
                position = first + 1 if last - first <= _RETRY else last


def _bounded(search: Callable[..., Any]) -> Callable[[bytes, int], Any]:
    """Make a search that stays linear over all matches together.

    One search is linear, but finding every match of 'a.*b|a' reads to the end for each of them,
    in every engine. So beyond `WORK`, a search reads `REACH` bytes at a time.
    """
    left = WORK

    def bounded(raw: bytes, position: int) -> Any:  # noqa: ANN401 - re2 has no types
        nonlocal left
        if left > 0:
            left -= len(raw) - position
            return search(raw, position)
        while position < len(raw):
            match = search(raw, position, position + REACH)
            if match:
                return match
            position += REACH // 2
        return None

    return bounded


def _judge(entity: Entity, raw: bytes, start: int, end: int) -> Hit | None:
    found = raw[start:end].decode("utf-8", "replace")
    size = entity.trim(found)
    if size < len(found):
        found = found[:size]
        end = start + len(found.encode("utf-8", "surrogatepass"))
    before = raw[max(start - _NEAR, 0) : start].decode("utf-8", "ignore")
    after = raw[end : end + _AFTER].decode("utf-8", "ignore")
    score = entity.check(Candidate(found, before, after)) if found else 0.0
    return Hit(start, end, score, entity) if score > 0 else None


def apart(hits: Sequence[Hit]) -> list[Hit]:
    """Return hits that do not overlap, in order; of two that do, the surer or longer one."""
    starts: list[int] = []
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda h: (-h.score, h.start - h.end, h.start)):
        place = bisect_right(starts, hit.start)
        if place and kept[place - 1].end > hit.start:
            continue
        if place < len(starts) and starts[place] < hit.end:
            continue
        starts.insert(place, hit.start)
        kept.insert(place, hit)
    return kept


def _in_code_points(raw: bytes, hits: Sequence[Hit]) -> Iterator[Hit]:
    here = points = 0
    for hit in hits:
        points += len(raw[here : hit.start].decode("utf-8", "surrogatepass"))
        size = len(raw[hit.start : hit.end].decode("utf-8", "surrogatepass"))
        yield Hit(points, points + size, hit.score, hit.entity)
        points += size
        here = hit.end


@cache
def scanner(entities: tuple[Entity, ...]) -> Scanner:
    """Return the scanner of these entities, compiled once."""
    return Scanner(entities)

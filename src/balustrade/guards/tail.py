"""Any guard of nearby text as a Monitor: only an end that may yet become a match is held."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from balustrade.core.call import Flow
from balustrade.core.content import Content, Role, Text
from balustrade.core.errors import GuardError
from balustrade.core.guard import Guard, Incremental
from balustrade.core.verdict import Finding, Span, Verdict

LIMIT = 4096
"""Characters an open match may have; a longer one is judged as far as it goes, and let go."""

_GAP = re.compile(r"\s")


class IncrementalGuard(Guard, Incremental, Protocol):
    """A guard that can say which end of a text is still open."""


class Followed(Struct, frozen=True):
    """Where a stream is: what may still be part of a match, and a little before it."""

    history: tuple[Content, ...]
    text: str = ""
    start: int = 0
    """Where `text` begins in the stream."""

    done: int = 0
    """Before this place of the stream everything is judged for good."""


class Tail(Struct, frozen=True):
    """Judge a growing text once, piece by piece, as far as no open match can change it.

    A chunk that leaves everything open costs no check, and ordinary words are held not at all.
    Chunks do not matter: the findings are those of the whole text.

    Fails: as the guard it asks.
    """

    guard: IncrementalGuard

    @property
    def name(self) -> str:
        """The guard's name."""
        return self.guard.name

    @property
    def hold(self) -> int:
        """The most characters an open match may have."""
        return LIMIT

    def start(self, content: Content, /) -> Followed:
        """Return the state before the first chunk of an answer to `content`."""
        return Followed((*content.history, content))

    def step(
        self, states: Sequence[Followed], chunks: Sequence[str], /
    ) -> Flow[list[tuple[Followed, Verdict]]]:
        """Judge what each chunk settles."""
        clean = Verdict(self.guard.name)
        results: list[tuple[Followed, Verdict]] = []
        due: list[tuple[int, int]] = []
        for state, chunk in zip(states, chunks, strict=True):
            text = state.text + chunk
            settled = state.start + self._settled(text)
            if settled > state.done:
                due.append((len(results), settled))
            results.append((Followed(state.history, text, state.start, state.done), clean))
        if due:
            verdicts = yield from self._check([results[slot][0] for slot, _ in due])
            for (slot, place), verdict in zip(due, verdicts, strict=True):
                state = results[slot][0]
                settled = _before_matches(state, place, verdict) if verdict.findings else place
                results[slot] = (self._moved(state, settled), _between(state, settled, verdict))
        return results

    def held(self, state: Followed, /) -> int:
        """Return the length of the open end."""
        return state.start + len(state.text) - state.done

    def finish(self, states: Sequence[Followed], /) -> Flow[list[Verdict]]:
        """Judge what was open when each stream ended."""
        verdicts = yield from self._check(states)
        return [
            _between(state, state.start + len(state.text), verdict)
            for state, verdict in zip(states, verdicts, strict=True)
        ]

    def _settled(self, text: str) -> int:
        place = self.guard.open_at(text)
        return place if len(text) - place <= LIMIT else len(text) - LIMIT // 2

    def _check(self, states: Sequence[Followed]) -> Flow[list[Verdict]]:
        batch = [Content((Text(s.text),), Role.ASSISTANT, s.history) for s in states]
        verdicts = yield from self.guard.check(batch)
        if len(verdicts) != len(batch):
            raise GuardError(f"gave {len(verdicts)} verdicts for {len(batch)} contents")
        return verdicts

    def _moved(self, state: Followed, settled: int) -> Followed:
        """Forget what can no longer bear on findings, from a gap on so that no word is halved."""
        least = settled - state.start - self.guard.reach
        if least <= 0:
            return Followed(state.history, state.text, state.start, settled)
        gap = _GAP.search(state.text, least, settled - state.start)
        cut = gap.start() if gap else least
        return Followed(state.history, state.text[cut:], state.start + cut, settled)


def _before_matches(state: Followed, place: int, verdict: Verdict) -> int:
    """Return the last place up to `place` that lies inside no match: such a match is open."""
    local = place - state.start
    spans = [finding.span for finding in verdict.findings if finding.span is not None]
    for span in sorted(spans, key=lambda span: -span.end):
        if span.start < local < span.end and len(state.text) - span.start <= LIMIT:
            local = span.start
    return max(local + state.start, state.done)


def _between(state: Followed, settled: int, verdict: Verdict) -> Verdict:
    """Return the verdict with the findings that became final, placed in the stream."""
    if not verdict.findings:
        return verdict
    findings = [_placed(finding, state.start) for finding in verdict.findings]
    return Verdict(
        verdict.guard,
        tuple(f for f in findings if f.span is None or state.done < f.span.end <= settled),
        verdict.error,
    )


def _placed(finding: Finding, offset: int) -> Finding:
    span = finding.span
    if span is None or not offset:
        return finding
    moved = Span(span.part, span.start + offset, span.end + offset)
    return Finding(finding.category, finding.score, moved, finding.severity, finding.note)

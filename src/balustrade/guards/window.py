"""Any guard as a Monitor: judge the end of a growing text again and again, ever less often."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.call import Flow
from balustrade.core.content import Content, Role, Text
from balustrade.core.errors import GuardError
from balustrade.core.guard import Guard
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.guards.cadence import Cadence, Place, first_due

AHEAD = 64
"""Places of one chunk that are judged in one batch at most."""

LARGEST_HOLD = 2000
"""Characters that may wait for a verdict: the largest step, of the longest words."""


class Watched(Struct, frozen=True):
    """Where a stream is. Places count from the start of `text`, which begins at `start`."""

    history: tuple[Content, ...]
    text: str = ""
    start: int = 0
    seen: Place = Place(0, 0)
    """The last end of a word that was looked at."""

    judged: Place = Place(0, 0)
    """Up to here a verdict was given."""

    ahead: tuple[tuple[Place, Verdict], ...] = ()
    """Verdicts at further places, asked for with the last in one batch but not yet given."""


class Window(Struct, frozen=True):
    """Judge the last `window` characters of a growing text at a cadence, and at its end.

    What is held back is what no verdict has covered yet:

    - `chunk`: the word in progress; a verdict at each word's end;
    - `word`: up to half as many words again as were judged, at most 24, so that the number of
      verdicts grows with the logarithm of a short text's length, and with a long one's slowly;
    - `sentence`: the sentence in progress, at most 400 characters and a word.

    The places of judgement depend on the text alone, so chunks do not matter. One step judges at
    one place; a step with an empty chunk goes on to the next.

    Fails: as the guard it asks.
    """

    guard: Guard
    every: Cadence = "word"
    window: int = 2000

    @property
    def name(self) -> str:
        """The guard's name."""
        return self.guard.name

    @property
    def hold(self) -> int:
        """The most characters that wait for a verdict once a stream has been stepped through."""
        return LARGEST_HOLD

    def start(self, content: Content, /) -> Watched:
        """Return the state before the first chunk of an answer to `content`."""
        return Watched((*content.history, content))

    def step(
        self, states: Sequence[Watched], chunks: Sequence[str], /
    ) -> Flow[list[tuple[Watched, Verdict]]]:
        """Judge each stream at its next place, if it has got there."""
        clean = Verdict(self.guard.name)
        grown = [replace(s, text=s.text + c) for s, c in zip(states, chunks, strict=True)]
        asked: list[tuple[int, Place]] = []
        for slot, state in enumerate(grown):
            due, seen = self._due(state)
            asked += [(slot, place) for place in due]
            grown[slot] = replace(state, seen=seen)
        if asked:
            verdicts = yield from self._check(
                [grown[slot] for slot, _ in asked], [place.end for _, place in asked]
            )
            for (slot, place), verdict in zip(asked, verdicts, strict=True):
                state = grown[slot]
                grown[slot] = replace(state, ahead=(*state.ahead, (place, verdict)))
        return [
            (self._moved(state), state.ahead[0][1]) if state.ahead else (state, clean)
            for state in grown
        ]

    def _due(self, state: Watched) -> tuple[list[Place], Place]:
        """Return the places that the text is due to be judged at now, and how far it was read."""
        due: list[Place] = []
        seen, last = state.seen, state.judged
        while not state.ahead and len(due) < AHEAD:
            seen, is_due = first_due(state.text, seen, last, self.every)
            if not is_due:
                break
            due.append(seen)
            last = seen
        return due, seen

    def held(self, state: Watched, /) -> int:
        """Return how many characters wait for a verdict."""
        return len(state.text) - state.judged.end

    def peek(self, states: Sequence[Watched], /) -> Flow[list[Verdict]]:
        """Judge each text as it stands, without moving on: may it start to leave?"""
        return self._check(states, [len(state.text) for state in states])

    def finish(self, states: Sequence[Watched], /) -> Flow[list[Verdict]]:
        """Judge each text at its end; what was judged there already is not judged again."""
        verdicts = [Verdict(self.guard.name)] * len(states)
        open_ = [slot for slot, state in enumerate(states) if self.held(state)]
        if open_:
            left = [states[slot] for slot in open_]
            answers = yield from self._check(left, [len(state.text) for state in left])
            for slot, answer in zip(open_, answers, strict=True):
                found = [f for _, verdict in states[slot].ahead for f in verdict.findings]
                verdicts[slot] = replace(answer, findings=(*found, *answer.findings))
        return verdicts

    def _check(self, states: Sequence[Watched], ends: Sequence[int]) -> Flow[list[Verdict]]:
        starts = [max(0, end - self.window) for end in ends]
        batch = [
            Content((Text(state.text[start:end]),), Role.ASSISTANT, state.history)
            for state, start, end in zip(states, starts, ends, strict=True)
        ]
        verdicts = yield from self.guard.check(batch)
        if len(verdicts) != len(batch):
            raise GuardError(f"gave {len(verdicts)} verdicts for {len(batch)} contents")
        return [
            _placed(verdict, state.start + start)
            for verdict, state, start in zip(verdicts, states, starts, strict=True)
        ]

    def _moved(self, state: Watched) -> Watched:
        """Note the next verdict; forget what no later window reaches back to, now and then."""
        (here, _), *ahead = state.ahead
        cut = here.end - self.window if here.end >= 2 * self.window else 0
        return Watched(
            state.history,
            state.text[cut:],
            state.start + cut,
            Place(here.words, here.end - cut),
            Place(here.words, here.end - cut),
            tuple((Place(place.words, place.end - cut), verdict) for place, verdict in ahead),
        )


def _placed(verdict: Verdict, offset: int) -> Verdict:
    if not offset or not verdict.findings:
        return verdict
    return Verdict(verdict.guard, tuple(_moved(f, offset) for f in verdict.findings), verdict.error)


def _moved(finding: Finding, offset: int) -> Finding:
    span = finding.span
    if span is None:
        return finding
    moved = Span(span.part, span.start + offset, span.end + offset)
    return Finding(finding.category, finding.score, moved, finding.severity, finding.note)

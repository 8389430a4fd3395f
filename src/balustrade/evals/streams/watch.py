"""Let a guard watch answers grow word by word, as it would on a rail, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from msgspec import Struct

from balustrade.core.call import Call, Classify, Flow, Reply, Send
from balustrade.core.content import Content, Stage
from balustrade.core.decision import Decision
from balustrade.core.guard import Guard, Incremental, Latency, Monitor
from balustrade.core.verdict import Verdict
from balustrade.evals.streams.answers import Answer
from balustrade.evals.subject import Head
from balustrade.flow.run import run
from balustrade.policy.document import Streaming
from balustrade.policy.model import ANY, Policy, Rule
from balustrade.rails.progress import Piece, Progress
from balustrade.rails.rail import Rail
from balustrade.rails.stream import Stream

LIVE = 64
"""Streams that grow at once; when one ends, the next begins."""


class Outcome(Struct, frozen=True):
    """How one answer went."""

    words: int
    """Words of the whole answer."""
    seen: int
    """Words that the guard had been given when it stopped the stream; all if it did not."""
    released: int
    """Words of which at least a part had left by then."""
    stopped: bool = False
    error: str = ""
    """Why the guard could not judge; the other fields then say nothing."""


class Reading(Struct, frozen=True):
    """What a guard was given to read."""

    texts: int = 0
    """Texts, or pieces of growing ones."""
    characters: int = 0
    """Characters in them; of requests none are counted."""


class Watch:
    """One guard that may stop streams, and what it was given to read so far.

    Whatever the rail's `Stream` does with a guard is done here: monitors and guards of nearby
    text are fed each character once, any other guard judges the end of the text again and again.

    Args:
        guard: The guard.
        head: Which of its findings stop a stream, and from which score on.
        send: What answers its calls.
        settings: How often a guard of whole texts is asked, and how much of them it sees.
        grown: Whether the guard is asked about growing texts even if it can follow streams.
    """

    def __init__(
        self,
        guard: Guard,
        head: Head,
        send: Send,
        settings: Streaming | None = None,
        *,
        grown: bool = False,
    ) -> None:
        self._is_fed = isinstance(guard, Monitor | Incremental) and not grown
        self._meter = Metered(guard)
        rail = Rail((guard if self._is_fed else self._meter,), _policy(guard, head), Stage.OUTPUT)
        self._stream = Stream(rail, settings)
        self._send = send
        self._fed = Reading()

    @property
    def reading(self) -> Reading:
        """What the guard was given to read so far."""
        return self._fed if self._is_fed else self._meter.reading

    def watch(
        self, answers: Sequence[Answer], on_done: Callable[[int], None] = lambda _done: None
    ) -> list[Outcome]:
        """Let the answers grow, and return how each went, in order.

        Args:
            answers: What is written; each has at least one word.
            on_done: Told how many have ended.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = iter(enumerate(answers))
        live: list[_Live] = []
        while True:
            for number, answer in islice(waiting, LIVE - len(live)):
                live.append(_Live(number, answer, self._stream.start(answer.asked)))
            if not live:
                return [outcomes[number] for number in range(len(answers))]
            for ended in self._grow(live):
                outcomes[ended.number] = ended.outcome()
            live = [each for each in live if each.number not in outcomes]
            on_done(len(outcomes))

    def _grow(self, live: Sequence[_Live]) -> list[_Live]:
        """Give each stream a word; return those that were stopped or are at their end."""
        chunks = [each.answer.chunks[each.seen] for each in live]
        self._fed = Reading(
            self._fed.texts + len(chunks), self._fed.characters + sum(map(len, chunks))
        )
        self._take(live, self._stream.step([each.state for each in live], chunks), words=1)
        over = [each for each in live if not each.is_cut and each.seen == each.answer.words]
        if over:
            self._take(over, self._stream.finish([each.state for each in over]), words=0)
        return [each for each in live if each.is_cut or each.seen == each.answer.words]

    def _take(
        self, live: Sequence[_Live], flow: Flow[list[tuple[Progress, Piece]]], *, words: int
    ) -> None:
        for each, (state, piece) in zip(live, run(flow, self._asked), strict=True):
            each.state = state
            each.seen += words
            each.characters += len(piece.text)
            each.is_cut = piece.cut
            each.decision = piece.decision

    def _asked(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Count what a guard that is fed asks about besides, and have it answered."""
        for call in calls:
            if self._is_fed and isinstance(call, Classify):
                self._fed = Reading(
                    self._fed.texts + len(call.texts),
                    self._fed.characters + sum(map(len, call.texts)),
                )
        return self._send(calls)


class Metered:
    """A guard that counts what it is given to read, and can follow no stream itself.

    Fails: as the guard it asks.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.reading = Reading()

    @property
    def name(self) -> str:
        """The guard's name."""
        return self._guard.name

    @property
    def judges(self) -> frozenset[str]:
        """The kinds of parts the guard judges."""
        return self._guard.judges

    @property
    def latency(self) -> Latency:
        """The guard's latency class."""
        return self._guard.latency

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Count, and have the guard judge."""
        self.reading = Reading(
            self.reading.texts + len(batch),
            self.reading.characters + sum(len(content.text) for content in batch),
        )
        return self._guard.check(batch)


class _Live:
    """One stream while it grows."""

    __slots__ = ("answer", "characters", "decision", "is_cut", "number", "seen", "state")

    def __init__(self, number: int, answer: Answer, state: Progress) -> None:
        self.number = number
        self.answer = answer
        self.state = state
        self.seen = 0
        self.characters = 0
        self.is_cut = False
        self.decision: Decision | None = None

    def outcome(self) -> Outcome:
        """Return how it went."""
        decision = self.decision
        assert decision is not None
        error = next((verdict.error for verdict in decision.verdicts if verdict.error), "")
        released = self.answer.begun(self.characters)
        return Outcome(self.answer.words, self.seen, released, self.is_cut, error)


def _policy(guard: Guard, head: Head) -> Policy:
    """Return the rules by which a stream is stopped where the head says yes."""
    threshold = 0.5 if head.says else head.threshold
    names = {head.says} if head.says else head.categories or {ANY}
    rules = [Rule("stop", name, threshold=threshold) for name in sorted(names)]
    return Policy(guard.name, tuple(rules))

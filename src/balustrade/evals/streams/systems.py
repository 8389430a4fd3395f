"""The four ways in which answers are judged: two guards, on whole answers and on growing ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from balustrade.core.errors import BackendError
from balustrade.core.verdict import Verdict
from balustrade.evals.streams.answers import Answer
from balustrade.evals.streams.watch import Outcome, Reading, Watch
from balustrade.evals.subject import Head, Subject
from balustrade.policy.document import Streaming

STREAM = "stream"
"""The stream guard, word by word."""
WHOLE = "stream, whole answers"
"""The same guard, given whole answers."""
FULL = "full text"
"""A guard of whole answers, given whole answers."""
PREFIXES = "full text, prefixes"
"""The same guard, asked again and again while an answer grows."""

LIVE = (STREAM, PREFIXES)
"""Those that can stop an answer before its end."""

BATCH = 64
"""Whole answers that are judged at once."""


class Judged(Struct, frozen=True):
    """How a set of answers went under each way to judge."""

    answers: tuple[Answer, ...]
    outcomes: dict[str, list[Outcome]]
    """For each system one outcome an answer, in order."""
    readings: dict[str, Reading]
    """What each was given to read."""

    def clean(self) -> list[int]:
        """Return the numbers of the answers that no system failed on."""
        return [
            number
            for number in range(len(self.answers))
            if not any(own[number].error for own in self.outcomes.values())
        ]


class Judge(Struct, frozen=True):
    """A guard, and which of its findings stop an answer."""

    subject: Subject
    head: Head

    def probe(self, answer: Answer) -> None:
        """Ask about one answer first: a server that is down is one error, not one for each row.

        Raises:
            BackendError: The guard cannot judge it.
        """
        [verdict] = self.subject.judge([answer.content])
        if verdict.error:
            raise BackendError(f"guard {self.subject.name!r} cannot judge: {verdict.error}")

    def watch(self, settings: Streaming, *, grown: bool = False) -> Watch:
        """Return the guard as one that stops streams."""
        subject = self.subject
        return Watch(subject.guard, self.head, subject.send, settings, grown=grown)

    def whole(self, answers: Sequence[Answer], on_done: Callable[[int], None]) -> list[Outcome]:
        """Judge whole answers."""
        outcomes: list[Outcome] = []
        for start in range(0, len(answers), BATCH):
            block = answers[start : start + BATCH]
            verdicts = self.subject.judge([answer.content for answer in block])
            outcomes += map(self._outcome, block, verdicts)
            on_done(len(outcomes))
        return outcomes

    def _outcome(self, answer: Answer, verdict: Verdict) -> Outcome:
        scores: dict[str, float] = {}
        for finding in verdict.findings:
            scores[finding.category] = max(finding.score, scores.get(finding.category, 0.0))
        is_yes = not verdict.error and self.head.is_yes(scores)
        size = answer.words
        return Outcome(size, size, 0 if is_yes else size, is_yes, verdict.error)


class Systems(Struct, frozen=True):
    """Two guards, and how they are asked."""

    stream: Judge
    full: Judge
    settings: Streaming
    """How often the guard of whole answers is asked while they grow, and how much it then sees."""
    on_done: Callable[[str, int, int], None] = lambda _what, _done, _of: None
    """Told what is being done, how much of it is, and how much there is."""

    def judge(self, name: str, answers: Sequence[Answer]) -> Judged:
        """Judge answers in all four ways."""
        watches = self._watches(*LIVE)
        whole = {WHOLE: self.stream, FULL: self.full}
        outcomes = self._grown(name, watches, answers) | {
            system: judge.whole(answers, self._told(name, system, len(answers)))
            for system, judge in whole.items()
        }
        once = Reading(len(answers), sum(len(answer.text) for answer in answers))
        readings = {system: watch.reading for system, watch in watches.items()}
        order = (STREAM, WHOLE, FULL, PREFIXES)
        return Judged(
            tuple(answers),
            {system: outcomes[system] for system in order},
            readings | dict.fromkeys(whole, once),
        )

    def grow(
        self, name: str, answers: Sequence[Answer], systems: Sequence[str] = LIVE
    ) -> dict[str, list[Outcome]]:
        """Judge answers only while they grow."""
        return self._grown(name, self._watches(*systems), answers)

    def _watches(self, *systems: str) -> dict[str, Watch]:
        return {
            system: self.full.watch(self.settings, grown=True)
            if system == PREFIXES
            else self.stream.watch(self.settings)
            for system in systems
        }

    def _grown(
        self, name: str, watches: dict[str, Watch], answers: Sequence[Answer]
    ) -> dict[str, list[Outcome]]:
        return {
            system: watch.watch(answers, self._told(name, system, len(answers)))
            for system, watch in watches.items()
        }

    def _told(self, name: str, system: str, of: int) -> Callable[[int], None]:
        return lambda done: self.on_done(f"{name}, {system}", done, of)

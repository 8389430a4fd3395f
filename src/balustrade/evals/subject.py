"""A guard under judgement: who answers its calls, and which of its findings answer what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from balustrade.core.call import Call, Reply
from balustrade.core.content import Content
from balustrade.core.guard import Guard
from balustrade.core.taxonomy import HARM, HAZARDS, INJECTION, RESPONSE_HARM, TOXICITY
from balustrade.core.verdict import Verdict
from balustrade.evals.question import Question
from balustrade.flow.isolate import isolate
from balustrade.flow.run import run

HARMS = frozenset({HARM, *(hazard.name for hazard in HAZARDS if hazard.name != INJECTION)})
"""Every name for a harmful request: the general one and the hazards, injections apart."""


class Head(Struct, frozen=True):
    """The part of a guard that answers one question."""

    categories: frozenset[str] | None = None
    """Findings that count, the highest of them; None if any finding does."""
    threshold: float = 0.5
    """The score from which the guard, as shipped, says yes."""
    says: str = ""
    """A finding by which the guard says yes itself, whatever the scores; empty for none."""

    @property
    def limit(self) -> float | None:
        """The threshold, if it is one that decides."""
        return None if self.says else self.threshold

    def score(self, scores: Mapping[str, float]) -> float:
        """Return the highest score that counts; 0.0 if nothing was found."""
        counted = (s for name, s in scores.items() if self._counts(name))
        return max(counted, default=0.0)

    def is_yes(self, scores: Mapping[str, float]) -> bool:
        """Whether the guard, as shipped, says yes."""
        if self.says:
            return scores.get(self.says, 0.0) >= 0.5
        return self.score(scores) >= self.threshold

    def _counts(self, name: str) -> bool:
        return self.categories is None or name in self.categories


@dataclass(frozen=True)
class Subject:
    """A guard, what answers its calls, and the questions it can be asked."""

    name: str
    guard: Guard
    send: Callable[[tuple[Call, ...]], Sequence[Reply]]
    heads: Mapping[Question, Head]
    revision: str = ""
    """What names these weights and settings, so that a run is resumed with the same ones."""
    close: Callable[[], None] = field(default=lambda: None)
    """Lets go of what answers."""

    def judge(self, batch: Sequence[Content]) -> list[Verdict]:
        """Return one verdict each, in order; what the guard fails on has a verdict that says so."""
        answers = run(isolate(self.guard.check, batch), self.send)
        return [
            answer
            if isinstance(answer, Verdict)
            else Verdict(self.guard.name, error=str(answer) or "failed")
            for answer in answers
        ]


def heads_of_ours(thresholds: Mapping[str, float]) -> dict[Question, Head]:
    """Return the questions that a model of ours answers, each head at its own threshold.

    A request is harmful, a post abusive, a text an injection, an answer harmful by the one head
    that was trained for it; that of harm has heard of abuse (`train/hearing.py`).

    Args:
        thresholds: Each head's taxonomy name, and its shipped threshold.
    """
    head = {name: Head(frozenset({name}), limit) for name, limit in thresholds.items()}
    found = {
        Question.REQUEST: head.get(HARM),
        Question.POST: head.get(TOXICITY),
        Question.INJECTION: head.get(INJECTION),
        Question.RESPONSE: head.get(RESPONSE_HARM),
    }
    return {question: each for question, each in found.items() if each}


def heads_of_others(names: Iterable[str], threshold: float = 0.5) -> dict[Question, Head]:
    """Return the questions that a model with labels of these meanings answers.

    Requests and answers are judged by the highest of all harms and of toxicity; posts by toxicity
    and hate, or as requests where the model has neither; injections by their own label.
    """
    known = frozenset(names)
    harms = known & HARMS
    request = harms | (known & {TOXICITY}) if harms else frozenset()
    found = {
        Question.REQUEST: request,
        Question.POST: known & {TOXICITY, "hate"} or request,
        Question.INJECTION: known & {INJECTION},
        Question.RESPONSE: known & {RESPONSE_HARM} or request,
    }
    return {question: Head(head, threshold) for question, head in found.items() if head}


def heads_of_any(questions: Iterable[Question], threshold: float = 0.5) -> dict[Question, Head]:
    """Return heads for a guard all of whose findings answer each of these questions."""
    return {question: Head(None, threshold) for question in questions}

"""What a label answers, and so which part of a guard is asked to answer it too.

A row's kind decides. A harmless row (`benign`, `hard_benign`) asks whatever the other rows of its
set ask: among injections it must not be taken for an injection, among requests not for harm.
Where it shares a set with several questions, it must pass them all. A sentence about groups
(`bias`) that its source does not call a stereotype asks to be let by as a post; that a stereotype
is abuse is not what its label says, so it asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from balustrade.core.content import Content, Role
from balustrade.data.example import Example, Kind

WITHHELD = "response-withheld"
"""The category of a row whose answer was too dangerous to pass on: its prompt is left, alone."""


class Question(StrEnum):
    """What is asked of a row."""

    REQUEST = "request"
    """Is this request harmful?"""
    POST = "post"
    """Is this post abusive?"""
    INJECTION = "injection"
    """Does this text carry an attack on the model that reads it?"""
    RESPONSE = "response"
    """Is this answer harmful, given what was asked?"""
    PERSONAL = "personal"
    """Does this text hold personal data?"""


ASKS = {
    Kind.PROMPT: Question.REQUEST,
    Kind.TOXICITY: Question.POST,
    Kind.INJECTION: Question.INJECTION,
    Kind.RESPONSE: Question.RESPONSE,
    Kind.PII: Question.PERSONAL,
    Kind.BIAS: Question.POST,
}
HARMLESS = frozenset({Kind.BENIGN, Kind.HARD_BENIGN})


def asked(examples: Iterable[Example]) -> tuple[Question, ...]:
    """Return what the rows of a set ask, without its harmless rows unless it has no others."""
    found = {ASKS.get(row.kind) for row in examples if row.kind not in HARMLESS}
    questions = tuple(question for question in Question if question in found)
    return questions if questions or found else (Question.REQUEST,)


def questions_of(row: Example, asked_by_set: tuple[Question, ...]) -> tuple[Question, ...]:
    """Return what one row asks; nothing if no guard for text can answer it.

    A prompt whose dangerous answer was withheld is no row of a set of answers.
    """
    if row.kind in HARMLESS:
        return asked_by_set
    if is_withheld(row, asked_by_set):
        return ()
    if row.kind is Kind.BIAS and row.is_unsafe:
        return ()
    question = ASKS.get(row.kind)
    return (question,) if question else ()


def is_withheld(row: Example, asked_by_set: tuple[Question, ...]) -> bool:
    """Whether a row stands in a set of answers without one."""
    return (
        Question.RESPONSE in asked_by_set
        and row.kind is not Kind.RESPONSE
        and WITHHELD in row.categories
    )


def content_of(row: Example) -> Content:
    """Return a row as a rail would meet it: who speaks, and after what."""
    if row.kind is Kind.RESPONSE:
        return Content.of(row.response, Role.ASSISTANT, (Content.of(row.text),))
    if "tool-output" in row.categories:
        before = (Content.of(row.context),) if row.context else ()
        return Content.of(row.text, Role.TOOL, before)
    before = (Content.of(row.context, Role.SYSTEM),) if row.context else ()
    return Content.of(row.text, Role.USER, before)

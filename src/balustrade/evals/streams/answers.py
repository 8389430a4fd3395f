"""Answers, word by word, as a stream guard is given them."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

from msgspec import Struct

from balustrade.core.content import Content, Role
from balustrade.data.example import Kind
from balustrade.evals.task import Task
from balustrade.text.growing import every


class Answer(Struct, frozen=True, dict=True):
    """An answer, what it answers, and whether people called it harmful."""

    id: str
    request: str
    text: str
    unsafe: bool
    lang: str = ""
    onset: int = 0
    """The number of the word that harm begins with, where somebody knows it."""

    @cached_property
    def chunks(self) -> tuple[str, ...]:
        """The text in pieces of one word each, with the gap that follows it.

        A word is what `balustrade.text.growing` says, so scripts without gaps have words too.
        """
        words = every(self.text)
        if not words:
            return ()
        places = [0, *(word.start for word in words[1:]), len(self.text)]
        return tuple(self.text[start:end] for start, end in pairwise(places))

    @property
    def words(self) -> int:
        """How many words it has."""
        return len(self.chunks)

    @property
    def asked(self) -> Content:
        """The request, as a stream begins with it."""
        return Content.of(self.request)

    @property
    def content(self) -> Content:
        """The whole answer, as a guard of whole texts is given it."""
        return Content.of(self.text, Role.ASSISTANT, (self.asked,))

    def begun(self, characters: int) -> int:
        """Return of how many words at least a part lies in the first so many characters."""
        count = place = 0
        for chunk in self.chunks:
            if place >= characters:
                break
            place += len(chunk)
            count += 1
        return count


class AnswerSet(Struct, frozen=True):
    """The answers of a data file."""

    name: str
    answers: tuple[Answer, ...]
    others: int = 0
    """Rows that are no answers, or empty ones; they are not judged."""


def answer_set(task: Task) -> AnswerSet:
    """Return the rows of a task whose label is about an answer; there may be none."""
    rows = [row for row in task.examples if row.kind is Kind.RESPONSE and row.response.strip()]
    answers = tuple(Answer(row.id, row.text, row.response, row.is_unsafe, row.lang) for row in rows)
    return AnswerSet(task.name, answers, len(task.examples) - len(answers))

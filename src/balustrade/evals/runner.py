"""Judge the rows of a task in blocks, keep every verdict, and go on where a killed run stopped.

Verdicts are appended to a file, one line a row, in the rows' order; a block is written whole and
flushed before the next is judged. What a kill cut short is a last line without its end: it is
dropped, and its row is judged again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from balustrade.core.errors import DataError
from balustrade.core.verdict import Verdict
from balustrade.data.example import Example
from balustrade.evals.question import Question, content_of
from balustrade.evals.subject import Head, Subject
from balustrade.evals.task import Task

BATCH = 256
BELOW = 1.0 - 1e-12
"""Rounding must not lift a score onto a threshold that it is under."""


class Judged(Struct, frozen=True):
    """What a guard said of one row; never the row's text."""

    id: str
    unsafe: bool
    kind: str
    lang: str = ""
    hazards: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    """What was asked; empty if the guard cannot answer what the row asks."""
    score: float = 0.0
    """The score of the head that answers; among several, the one furthest beyond its threshold."""
    rank: float = 0.0
    """The score, stretched so that every head's threshold lies at one half: heads compare."""
    flagged: bool = False
    scores: dict[str, float] = {}
    """Highest score of each category the guard reported."""
    error: str = ""


_decode = msgspec.json.Decoder(Judged).decode
_encode = msgspec.json.Encoder().encode


def judge(
    subject: Subject, task: Task, *, batch: int = BATCH, keep: Path | None = None
) -> Iterator[list[Judged]]:
    """Yield what the guard said of each row, in order, a block at a time.

    Args:
        subject: The guard.
        task: The rows.
        batch: Rows a block.
        keep: A file to append verdicts to; rows it already holds are not judged again.

    Raises:
        DataError: The file holds verdicts on other rows.
    """
    known = _known(keep, task) if keep else []
    if known:
        yield known
    rows = task.examples[len(known) :]
    for start in range(0, len(rows), batch):
        block = rows[start : start + batch]
        judged = _block(subject, task, block)
        if keep:
            with keep.open("ab") as file:
                file.write(b"".join(_encode(row) + b"\n" for row in judged))
        yield judged


def _block(subject: Subject, task: Task, rows: Sequence[Example]) -> list[Judged]:
    answerable = [_answerable(subject, task, row) for row in rows]
    asked = [row for row, questions in zip(rows, answerable, strict=True) if questions]
    verdicts = iter(subject.judge([content_of(row) for row in asked]) if asked else ())
    return [
        _judged(subject, row, questions, next(verdicts)) if questions else _unjudged(row)
        for row, questions in zip(rows, answerable, strict=True)
    ]


def _answerable(subject: Subject, task: Task, row: Example) -> tuple[Question, ...]:
    """Return what the row asks if the guard has a head for all of it, else nothing."""
    questions = task.asks(row)
    return questions if all(question in subject.heads for question in questions) else ()


def _unjudged(row: Example) -> Judged:
    return Judged(row.id, row.is_unsafe, row.kind.value, row.lang, row.hazards)


def _judged(
    subject: Subject, row: Example, questions: tuple[Question, ...], verdict: Verdict
) -> Judged:
    scores: dict[str, float] = {}
    for finding in verdict.findings:
        scores[finding.category] = max(finding.score, scores.get(finding.category, 0.0))
    heads = [subject.heads[question] for question in questions]
    rank, score = max(_ranked(head, head.score(scores)) for head in heads)
    return Judged(
        row.id,
        row.is_unsafe,
        row.kind.value,
        row.lang,
        row.hazards,
        questions,
        score,
        rank,
        any(head.is_yes(scores) for head in heads),
        scores,
        verdict.error,
    )


def _ranked(head: Head, score: float) -> tuple[float, float]:
    return stretch(score, head.threshold, 0.5), score


def stretch(score: float, here: float, there: float) -> float:
    """Map [0, here) to [0, there) and [here, 1] to [there, 1], each evenly."""
    if score < here:
        return min(score / here * there, there * BELOW)
    return min(there + (score - here) / max(1.0 - here, 1e-12) * (1.0 - there), 1.0)


def _known(keep: Path, task: Task) -> list[Judged]:
    """Read back whole lines, cut off what follows them, and check that they are on these rows."""
    if not keep.exists():
        return []
    data = keep.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        known = [_decode(line) for line in whole.splitlines()]
    except msgspec.MsgspecError as error:
        raise DataError(f"{keep}: expected verdicts, {error}") from error
    same = [row.id for row in known] == [row.id for row in task.examples[: len(known)]]
    if not same or len(known) > len(task.examples):
        raise DataError(f"{keep}: holds verdicts on other rows than those of {task.name!r}")
    if len(whole) < len(data):
        with keep.open("r+b") as file:
            file.truncate(len(whole))
    return known

"""The moderation suite: one guard over any number of labelled sets.

Every set is judged by the heads its rows ask for, at the guard's shipped thresholds. Rows that a
guard has no head for are counted by kind, rows it failed on are counted apart; figures stand on
the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

import balustrade
from balustrade.core.errors import BackendError
from balustrade.evals.figures import Figures, figures
from balustrade.evals.latency import Latency, latency
from balustrade.evals.question import Question, content_of
from balustrade.evals.runner import BATCH, Judged, judge
from balustrade.evals.subject import Subject
from balustrade.evals.task import Task


class Options(Struct, frozen=True):
    """How the suite is run; none of these changes what a verdict says."""

    batch: int = BATCH
    samples: int = 1000
    """Resamples an interval."""
    seed: int = 0
    timed: int = 200
    """Rows of each set that are timed alone; 0 for none."""
    keep: Path | None = None
    """A folder for verdicts, one file a set."""


class SetReport(Struct, frozen=True):
    """What a guard achieved on one set."""

    name: str
    rows: int
    """Rows of the set, judged or not."""
    unsafe: int
    figures: Figures
    thresholds: dict[str, float | None] = {}
    """The shipped threshold of each question's head; None where the guard says yes by itself."""
    unjudged: dict[str, int] = {}
    """Rows of each kind that the guard has no head for."""
    withheld: int = 0
    """Rows left out because the answer they are about was withheld."""
    errors: int = 0
    """Rows the guard failed on."""
    error: str = ""
    """The first of these failures."""
    latency: Latency | None = None

    @property
    def threshold(self) -> float | None:
        """The shipped threshold if all rows are judged by one; else None."""
        found = set(self.thresholds.values())
        return found.pop() if len(found) == 1 else None


class Overall(Struct, frozen=True):
    """What a guard achieved on all rows that ask one question, over all sets."""

    question: Question
    figures: Figures


class Report(Struct, frozen=True):
    """What one guard achieved on all sets."""

    guard: str
    revision: str
    version: str
    sets: tuple[SetReport, ...]
    overall: tuple[Overall, ...]


def run(
    subject: Subject,
    tasks: Sequence[Task],
    options: Options | None = None,
    on_rows: Callable[[str, int, int], None] = lambda _name, _done, _of: None,
) -> Report:
    """Judge all tasks with one guard and measure what it said.

    Args:
        subject: The guard.
        tasks: The sets.
        options: How.
        on_rows: Told a set's name, how many of its rows are judged, and how many it has.

    Raises:
        BackendError: The guard cannot judge the first row it is asked about.
    """
    options = options or Options()
    _probe(subject, tasks)
    reports: list[SetReport] = []
    pools: dict[Question, list[Judged]] = {}
    for task in tasks:
        rows: list[Judged] = []
        keep = options.keep / f"{task.name}.jsonl" if options.keep else None
        for block in judge(subject, task, batch=options.batch, keep=keep):
            rows += block
            on_rows(task.name, len(rows), len(task.examples))
        reports.append(_report(subject, task, rows, options))
        for row in rows:
            if len(row.questions) == 1 and not row.error and row.kind != "bias":
                pools.setdefault(row.questions[0], []).append(row)
    overall = tuple(
        Overall(question, figures(pools[question], samples=options.samples, seed=options.seed))
        for question in Question
        if question in pools
    )
    return Report(subject.name, subject.revision, balustrade.__version__, tuple(reports), overall)


def _probe(subject: Subject, tasks: Sequence[Task]) -> None:
    """Ask about one row first: a server that is down is one error, not one for each row."""
    for task in tasks:
        for row in task.examples:
            questions = task.asks(row)
            if questions and all(question in subject.heads for question in questions):
                [verdict] = subject.judge([content_of(row)])
                if verdict.error:
                    raise BackendError(f"guard {subject.name!r} cannot judge: {verdict.error}")
                return


def _report(subject: Subject, task: Task, rows: Sequence[Judged], options: Options) -> SetReport:
    answered = [row for row in rows if row.questions]
    judged = [row for row in answered if not row.error]
    failed = [row.error for row in answered if row.error]
    asked = {question for row in answered for question in row.questions}
    contents = [
        content_of(example)
        for example, row in zip(task.examples, rows, strict=True)
        if row.questions
    ]
    silent = Counter(
        example.kind.value
        for example, row in zip(task.examples, rows, strict=True)
        if not row.questions and not task.is_withheld(example)
    )
    return SetReport(
        task.name,
        len(rows),
        sum(row.unsafe for row in rows),
        figures(judged, samples=options.samples, seed=options.seed),
        {
            question.value: subject.heads[question].limit
            for question in Question
            if question in asked
        },
        dict(sorted(silent.items())),
        sum(map(task.is_withheld, task.examples)),
        len(failed),
        failed[0] if failed else "",
        latency(subject, contents, sample=options.timed, seed=options.seed),
    )

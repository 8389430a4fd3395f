"""Where a run keeps its verdicts, and what must be alike for another to go on with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from balustrade.core.digest import canonical, digest
from balustrade.core.errors import DataError
from balustrade.evals.question import Question
from balustrade.evals.subject import Head, Subject
from balustrade.evals.task import Task


class Start(Struct, frozen=True):
    """What the verdicts in a folder are by, and on."""

    guard: str
    revision: str
    heads: dict[Question, Head]
    sets: dict[str, str]
    """Digest of each set's rows."""


def verdict_folder(
    out: Path | None, subject: Subject, tasks: Sequence[Task], *, resume: bool = False
) -> Path | None:
    """Return the folder for verdicts in `out`, empty unless a run is resumed.

    Raises:
        DataError: Verdicts are there and `resume` is not asked for, or they are by another guard
            or on other rows.
    """
    if out is None:
        return None
    folder, path = out / "verdicts", out / "start.json"
    start = Start(
        subject.name,
        subject.revision,
        dict(subject.heads),
        {task.name: digest(task.examples) for task in tasks},
    )
    form = canonical(start)
    if path.exists() and any(folder.glob("*.jsonl")):
        if not resume:
            raise DataError(f"{folder}: holds verdicts already; add --resume or choose another")
        if path.read_bytes() != form:
            raise DataError(f"{path}: those verdicts are by another guard or on other rows")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(form)
    return folder

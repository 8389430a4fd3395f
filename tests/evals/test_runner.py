"""Judging in blocks, keeping verdicts, and going on after a kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.evals.progress import verdict_folder
from balustrade.evals.question import Question
from balustrade.evals.runner import Judged, judge, stretch
from balustrade.evals.subject import Subject
from balustrade.evals.task import Task, tasks

Make = Callable[..., tuple[Subject, Any]]
Write = Callable[[Path, Sequence[dict[str, Any]]], Path]


@pytest.fixture
def task(tmp_path: Path, rows_file: Write) -> Task:
    rows = [{"text": f"row {n} 0.{n}", "label": "unsafe" if n > 4 else "safe"} for n in range(10)]
    [made] = tasks([rows_file(tmp_path / "numbers.jsonl", rows)])
    return made


def flat(blocks: object) -> list[Judged]:
    return [row for block in blocks for row in block]  # type: ignore[attr-defined]


def test_every_row_is_judged_in_order_whatever_the_block(task: Task, counting: Make) -> None:
    subject, _ = counting()
    by_three = flat(judge(subject, task, batch=3))
    assert by_three == flat(judge(subject, task, batch=100))
    assert [row.id for row in by_three] == [row.id for row in task.examples]
    assert [row.score for row in by_three] == [n / 10 for n in range(10)]
    assert [row.flagged for row in by_three] == [n >= 5 for n in range(10)]
    assert by_three[0].questions == (Question.REQUEST,)


def test_a_killed_run_goes_on_where_it_stopped(task: Task, tmp_path: Path, counting: Make) -> None:
    keep = tmp_path / "numbers.verdicts"
    subject, guard = counting()
    whole = flat(judge(subject, task, batch=4, keep=keep))
    complete = keep.read_bytes()
    lines = complete.splitlines(keepends=True)
    keep.write_bytes(b"".join(lines[:6]) + lines[6][:20])
    guard.judged.clear()
    again = flat(judge(subject, task, batch=4, keep=keep))
    assert again == whole
    assert keep.read_bytes() == complete
    assert guard.judged == [f"row {n} 0.{n}" for n in range(6, 10)]


def test_a_finished_run_judges_nothing_again(task: Task, tmp_path: Path, counting: Make) -> None:
    keep = tmp_path / "numbers.verdicts"
    subject, guard = counting()
    whole = flat(judge(subject, task, keep=keep))
    guard.judged.clear()
    assert flat(judge(subject, task, keep=keep)) == whole
    assert guard.judged == []


def test_verdicts_on_other_rows_are_refused(task: Task, tmp_path: Path, counting: Make) -> None:
    keep = tmp_path / "numbers.verdicts"
    subject, _ = counting()
    flat(judge(subject, task, keep=keep))
    other = Task("numbers", task.examples[1:])
    with pytest.raises(DataError, match="verdicts on other rows than those of 'numbers'"):
        flat(judge(subject, other, keep=keep))
    keep.write_bytes(b"{}\n")
    with pytest.raises(DataError, match="expected verdicts"):
        flat(judge(subject, task, keep=keep))


def test_a_guard_that_fails_on_one_row_is_judged_on_the_others(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    path = rows_file(tmp_path / "mixed.jsonl", [{"text": t} for t in ("a 0.1", "fail 1", "b 0.9")])
    [task] = tasks([path])
    subject, _ = counting()
    good, bad, flagged = flat(judge(subject, task))
    assert (good.error, flagged.error) == ("", "")
    assert flagged.flagged
    assert "RuntimeError" in bad.error


def test_rows_without_a_head_are_kept_and_marked(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    path = rows_file(
        tmp_path / "mixed.jsonl",
        [{"text": "click 1", "kind": "web_action"}, {"text": "a card 1", "kind": "pii"}],
    )
    [task] = tasks([path])
    subject, guard = counting()
    assert [row.questions for row in flat(judge(subject, task))] == [(), ()]
    assert guard.judged == []


def test_rank_lines_up_the_thresholds_of_two_heads(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    path = rows_file(
        tmp_path / "both.jsonl",
        [
            {"text": "ask 0.45", "label": "unsafe"},
            {"text": "attack 0.45", "label": "unsafe", "kind": "injection"},
            {"text": "ordinary 0.45", "kind": "benign"},
        ],
    )
    [task] = tasks([path])
    subject, _ = counting()
    request, injection, ordinary = flat(judge(subject, task))
    assert (request.flagged, injection.flagged, ordinary.flagged) == (False, True, True)
    assert request.rank < 0.5 <= injection.rank
    assert ordinary.rank == injection.rank


def test_a_run_is_resumed_only_with_the_same_guard_and_rows(
    task: Task, tmp_path: Path, counting: Make
) -> None:
    out = tmp_path / "out"
    subject, _ = counting()
    folder = verdict_folder(out, subject, [task])
    assert folder == out / "verdicts"
    flat(judge(subject, task, keep=folder / "numbers.jsonl"))
    with pytest.raises(DataError, match="add --resume"):
        verdict_folder(out, subject, [task])
    assert verdict_folder(out, subject, [task], resume=True) == folder
    with pytest.raises(DataError, match="another guard or on other rows"):
        verdict_folder(out, counting("2")[0], [task], resume=True)
    with pytest.raises(DataError, match="another guard or on other rows"):
        verdict_folder(out, subject, [Task("numbers", task.examples[:5])], resume=True)


def test_a_sample_is_seeded_and_keeps_the_order(tmp_path: Path, rows_file: Write) -> None:
    rows = [{"text": f"row {n} 0.1"} for n in range(200)]
    path = rows_file(tmp_path / "numbers.jsonl", rows)
    [sample] = tasks([path], limit=20, seed=1)
    assert [sample] == tasks([tmp_path], limit=20, seed=1)
    assert [sample] != tasks([path], limit=20, seed=2)
    numbers = [int(row.id.partition("-")[2]) for row in sample.examples]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 20


def test_two_files_of_one_name_are_refused(tmp_path: Path, rows_file: Write) -> None:
    (tmp_path / "more").mkdir()
    for folder in (tmp_path, tmp_path / "more"):
        rows_file(folder / "numbers.jsonl", [{"text": "a 0.1"}])
    with pytest.raises(DataError, match="two files are named 'numbers'"):
        tasks([tmp_path, tmp_path / "more"])


unit = st.floats(0.0, 1.0)
limit = st.floats(0.01, 0.99)


@given(unit, unit, limit, limit)
def test_stretching_keeps_the_order(low: float, high: float, here: float, there: float) -> None:
    low, high = sorted((low, high))
    assert 0.0 <= stretch(low, here, there) <= stretch(high, here, there) <= 1.0

"""The sets of our own are many, even, of many languages, and nothing learns from them."""

from __future__ import annotations

from collections import Counter

from balustrade.data.example import Kind
from balustrade.evals.question import Question
from balustrade.evals.task import TWINS, tasks


def test_requests_and_posts_stand_beside_their_twins_in_many_languages() -> None:
    task = tasks(TWINS)[0]
    assert (task.name, task.questions) == ("twins_requests", (Question.REQUEST,))
    langs = Counter(row.lang for row in task.examples)
    assert langs["en"] > 4_000
    assert len(langs) > 20
    assert min(langs.values()) >= 40
    for lang in langs:
        own = [row for row in task.examples if row.lang == lang]
        assert len({row.text.casefold() for row in own}) == len(own)
        assert 0.4 < sum(row.is_unsafe for row in own) / len(own) < 0.6
    assert not any(row.hazards for row in task.examples if not row.is_unsafe)
    assert not any("S4" in row.hazards for row in task.examples)


def test_attacks_stand_beside_what_looks_like_them() -> None:
    task = tasks(TWINS)[1]
    assert (task.name, task.questions) == ("twins_attacks", (Question.INJECTION,))
    rows = task.examples
    assert {row.kind for row in rows} == {Kind.INJECTION, Kind.HARD_BENIGN}
    assert len(rows) > 900
    assert 0.45 < sum(row.is_unsafe for row in rows) / len(rows) < 0.55
    assert len({row.lang for row in rows}) > 10
    assert any("\n" in row.text for row in rows)


def test_a_few_rows_are_drawn_alike_for_a_seed() -> None:
    few = tasks(TWINS, limit=50, seed=3)
    assert few == tasks(TWINS, limit=50, seed=3) != tasks(TWINS, limit=50, seed=4)
    assert [len(task.examples) for task in few] == [50, 50]


def test_names_are_unique() -> None:
    rows = [row for task in tasks(TWINS) for row in task.examples]
    assert len({row.id for row in rows}) == len(rows)

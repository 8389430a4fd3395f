"""The stream suite, on guards that look for a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from balustrade.core.errors import DataError, PolicyError
from balustrade.evals.named import Access, subject
from balustrade.evals.streams.answers import Answer, AnswerSet
from balustrade.evals.streams.report import html, markdown, write
from balustrade.evals.subject import Subject
from balustrade.evals.suites.stream import Options, Run, run

SETS = (
    AnswerSet(
        "words",
        (
            Answer("1", "q", "one two three four xyzzy six seven eight", True),
            Answer("2", "q", "nothing that the guard knows", True),
            Answer("3", "q", "one two three", False),
            Answer("4", "q", "an xyzzy, but harmless", False),
        ),
        others=2,
    ),
)


def keywords(*words: str) -> Subject:
    return subject("keywords", Access({"words": words or ("xyzzy",), "normalise": False}))


def measured(sets: Sequence[AnswerSet] = SETS, **how: object) -> Run:
    known: dict[str, object] = {"onset": 0, "long": 0, "samples": 50} | how
    return run(keywords(), keywords(), sets, Options(**known))  # type: ignore[arg-type]  # mixed


def test_four_ways_to_judge_stand_side_by_side() -> None:
    [found] = measured().report.sets
    assert [each.name for each in found.systems] == [
        "stream", "stream, whole answers", "full text", "full text, prefixes",
    ]  # fmt: skip
    assert {each.macro_f1.value for each in found.systems} == {0.5}
    stream, whole, full, prefixes = found.systems
    assert (full.less_full, whole.seen) == (None, None)
    assert stream.less_full is not None
    assert stream.less_full.value == 0.0
    assert stream.seen is not None
    assert prefixes.seen is not None
    assert stream.seen.mean_stopped.value == 5 / 8
    assert prefixes.seen.mean_stopped.value == 7 / 8
    assert stream.characters <= 1.0 < prefixes.characters


def test_false_stops_are_counted_by_length_and_long_ones_hold_the_word_more_often() -> None:
    classes = measured(long=3).report.lengths
    assert [each.up_to for each in classes] == [100, 500, 1000, 2000, 4000]
    assert classes[-1].per_1000["stream"].value == 1000.0
    assert "full text, prefixes" in classes[1].per_1000
    assert "full text, prefixes" not in classes[2].per_1000


def test_a_report_says_what_it_stands_on(tmp_path: Path) -> None:
    done = measured([*SETS, AnswerSet("prompts", (), 7)], onset=10)
    names = [path.name for path in write(done, tmp_path / "out")]
    assert names == ["report.json", "report.md", "report.html", "outcomes.jsonl"]
    text = markdown(done.report)
    assert "| prompts | 7 | the set holds no answers |" in text
    assert "Harmful answers only" in text
    assert "one two" not in (tmp_path / "out" / "outcomes.jsonl").read_text()
    assert "<svg" in html(done.report)


@pytest.mark.parametrize(
    ("sets", "how", "expected"),
    [
        ((), {}, "expected answers to judge"),
        ([AnswerSet("prompts", (), 7)], {}, "prompts: expected rows of kind 'response'"),
        ([AnswerSet("onset", SETS[0].answers)], {}, "a set is named 'onset'"),
    ],
)
def test_without_answers_there_is_no_figure(
    sets: Sequence[AnswerSet], how: dict[str, object], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        measured(sets, **how)


def test_thresholds_are_given_or_shipped_never_both() -> None:
    with pytest.raises(PolicyError, match="found both"):
        measured(threshold=0.5, false_alarms=0.01)
    with pytest.raises(PolicyError, match="'keywords' is not calibrated"):
        measured(false_alarms=0.01)
    with pytest.raises(PolicyError, match="'patterns' does not judge answers"):
        run(subject("patterns"), keywords(), SETS)

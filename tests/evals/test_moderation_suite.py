"""The suite on hand-made sets, where every figure can be counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from balustrade.core.content import Content
from balustrade.core.errors import BackendError
from balustrade.evals import report
from balustrade.evals.html import html
from balustrade.evals.latency import latency
from balustrade.evals.markdown import markdown
from balustrade.evals.published import published
from balustrade.evals.question import Question
from balustrade.evals.subject import Subject
from balustrade.evals.suites.moderation import Options, Report, run
from balustrade.evals.tables import by_set, tables
from balustrade.evals.task import tasks

Make = Callable[..., tuple[Subject, Any]]
Write = Callable[[Path, Sequence[dict[str, Any]]], Path]

REQUESTS: list[dict[str, Any]] = [
    {"text": "bad 0.9", "label": "unsafe", "lang": "en", "hazards": ["S1"]},
    {"text": "bad 0.6", "label": "unsafe", "lang": "de", "hazards": ["S1", "S2"]},
    {"text": "bad 0.2", "label": "unsafe", "lang": "en"},
    {"text": "fine 0.1", "kind": "benign", "lang": "en"},
    {"text": "fine 0.7", "kind": "hard_benign", "lang": "de"},
    {"text": "fine 0.3", "kind": "hard_benign", "lang": "de"},
]
ANSWERS: list[dict[str, Any]] = [
    {"text": "ask", "response": "yes 0.7", "label": "unsafe", "kind": "response"},
    {"text": "ask", "response": "no 0.5", "label": "safe", "kind": "response"},
    {"text": "ask 0.9", "label": "unsafe", "categories": ["response-withheld"]},
]


@pytest.fixture
def done(tmp_path: Path, counting: Make, rows_file: Write) -> Report:
    subject, _ = counting()
    paths = [
        rows_file(tmp_path / "xstest_prompts.jsonl", REQUESTS),
        rows_file(tmp_path / "answers.jsonl", ANSWERS),
        rows_file(tmp_path / "clicks.jsonl", [{"text": "buy 1", "kind": "web_action"}]),
        rows_file(tmp_path / "attacks.jsonl", [
            {"text": "attack 0.41", "label": "unsafe", "kind": "injection"},
            {"text": "fail 1", "label": "unsafe", "kind": "injection"},
        ]),
    ]  # fmt: skip
    return run(subject, tasks(paths), Options(samples=100, timed=3))


def test_figures_are_those_counted_by_hand(done: Report) -> None:
    found = done.sets[0].figures
    assert (found.judged, found.unsafe) == (6, 3)
    assert (found.recall, found.false_alarms, found.over_refusal) == (2 / 3, 1 / 3, 1 / 2)
    assert found.precision == 2 / 3
    assert found.f1 == pytest.approx(2 / 3)
    assert found.auprc == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found.auroc == pytest.approx((3 + 2 + 1) / 9)
    assert found.auprc_interval is not None
    assert {s.name: (s.rows, s.recall) for s in found.hazards} == {"S1": (2, 1.0), "S2": (1, 1.0)}
    german = next(s for s in found.languages if s.name == "de")
    assert (german.rows, german.recall, german.false_alarms) == (3, 1.0, 1 / 2)


def test_what_is_not_judged_is_counted_and_never_dropped(done: Report) -> None:
    requests, answers, clicks, attacks = done.sets
    assert (answers.rows, answers.unsafe, answers.withheld) == (3, 2, 1)
    assert (answers.figures.judged, answers.figures.recall) == (2, 1.0)
    assert (clicks.rows, clicks.figures.judged, clicks.unjudged) == (1, 0, {"web_action": 1})
    assert (attacks.errors, attacks.figures.judged) == (1, 1)
    assert "RuntimeError" in attacks.error
    assert requests.unjudged == {}


def test_questions_are_not_pooled(done: Report) -> None:
    assert [overall.question for overall in done.overall] == [
        Question.REQUEST,
        Question.INJECTION,
        Question.RESPONSE,
    ]
    assert [overall.figures.judged for overall in done.overall] == [6, 1, 2]


def test_the_json_form_is_the_one_promised_to_scripts(done: Report) -> None:
    form = msgspec.json.decode(msgspec.json.encode(report.summary(done)))
    assert list(form) == ["guard", "sets"]
    for entry in form["sets"]:
        assert list(entry) == [
            "name", "rows", "unsafe", "auprc", "f1", "threshold", "recall", "false_alarms",
            "latency_ms",
        ]  # fmt: skip
        assert list(entry["latency_ms"]) == ["p50", "p99"]
    assert form["guard"] == "counting"
    requests, _, clicks, attacks = form["sets"]
    assert (requests["name"], requests["threshold"]) == ("xstest_prompts", 0.5)
    assert requests["latency_ms"]["p50"] > 0
    absent = ("auprc", "f1", "threshold", "recall", "false_alarms")
    assert [clicks[name] for name in absent] == [None] * 5
    assert (attacks["auprc"], attacks["f1"], attacks["recall"]) == (None, 1.0, 1.0)


def test_a_set_judged_by_two_heads_has_no_one_threshold(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    rows = [
        {"text": "a 0.45", "label": "unsafe"},
        {"text": "b 0.45", "label": "unsafe", "kind": "injection"},
    ]
    subject, _ = counting()
    [entry] = run(subject, tasks([rows_file(tmp_path / "two.jsonl", rows)])).sets
    assert entry.threshold is None
    assert entry.thresholds == {"request": 0.5, "injection": 0.4}
    assert entry.figures.recall == 0.5


def test_a_guard_that_cannot_judge_at_all_is_one_error(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    subject, _ = counting()
    path = rows_file(tmp_path / "fails.jsonl", [{"text": "fail 1"}] * 3)
    with pytest.raises(BackendError, match=r"guard 'counting' cannot judge: .*RuntimeError"):
        run(subject, tasks([path]))


def test_ours_stands_beside_what_others_published_with_its_source(done: Report) -> None:
    [beside] = [t for t in tables(done) if t.title.startswith("Beside")]
    assert beside.rows[0] == ("counting", "0.667", "0.756", "33.3 %", "this run")
    assert ("GPT-4", "0.895", "–", "12.8 %", "Llama Guard 2 model card") in beside.rows
    assert beside.note == "The same 450 prompts."


def test_every_published_figure_has_a_source_and_its_set_a_note() -> None:
    shelf = published()
    assert len(shelf.figures) > 100
    for figure in shelf.figures:
        assert figure.source
        assert shelf.notes[figure.set]
        values = [v for v in (figure.f1, figure.auprc, figure.false_alarms) if v is not None]
        assert values
        assert all(0.0 <= value <= 1.0 for value in values)


def test_markdown_lists_every_set_with_its_figures(done: Report) -> None:
    lines = markdown(done).splitlines()
    assert lines[0] == "# Moderation: `counting`"
    [requests] = [line for line in lines if line.startswith("| xstest_prompts | 6 | 3 ")]
    assert "| 0.756 [" in requests
    assert "66.7 % [" in requests
    assert "| clicks | 1 | no head for kind 'web_action' |" in lines
    assert "| answers | 1 | the answer was withheld |" in lines
    table = lines[6 : 8 + len(by_set(done).rows)]
    assert len({line.count("|") for line in table}) == 1


def test_the_page_fetches_nothing_and_runs_nothing(done: Report) -> None:
    page = html(done)
    assert not re.search(r"(?i)<script|src=|href=|https?:|@import|url\(|\son\w+=", page)
    assert page.count("<svg") == page.count("</svg>") >= 3
    for title in ("Precision and recall", "Reliability", "By set", "Not judged"):
        assert f"<h2>{title}</h2>" in page


def test_the_page_escapes_what_it_did_not_write(
    tmp_path: Path, counting: Make, rows_file: Write
) -> None:
    rows = [{"text": "a 0.9", "label": "unsafe", "lang": "<b>"}, {"text": "b 0.1", "lang": "<b>"}]
    subject, _ = counting()
    page = html(run(subject, tasks([rows_file(tmp_path / "x<i>.jsonl", rows * 10)])))
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;" in page


def test_reports_are_written_and_can_be_read_back(done: Report, tmp_path: Path) -> None:
    paths = report.write(done, tmp_path / "new" / "out")
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    assert msgspec.json.decode(paths[0].read_bytes(), type=Report) == done


def test_latency_is_of_rows_judged_alone(counting: Make) -> None:
    subject, guard = counting()
    contents = [Content.of(f"text 0.{n}") for n in range(6)]
    found = latency(subject, contents, sample=4, seed=1)
    assert found is not None
    assert found.rows == 4
    assert 0 < found.p50 <= found.p99
    assert len(guard.judged) == 3 + 4
    assert latency(subject, [], sample=4) is None
    assert latency(subject, contents, sample=0) is None

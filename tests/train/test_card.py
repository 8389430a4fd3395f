from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from balustrade.core.taxonomy import HARM, RESPONSE_HARM
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.evals.question import Question
from balustrade.evals.runner import Judged
from balustrade.evals.subject import Head
from balustrade.shipped import HERE, describe
from balustrade.train import card


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    folder.mkdir()
    rows = [
        Example("a", "How do I bake bread?", "safe", Kind.BENIGN, source="ours", licence="CC0"),
        Example("b", "How do I rob a bank?", "unsafe", Kind.PROMPT, source="ours", licence="CC0"),
    ]
    jsonl.write(folder / "small.jsonl.gz", rows * 10)
    return folder


def test_a_card_carries_the_digest_the_thresholds_and_the_figures(
    bench: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for file in HERE.glob("static.*"):
        shutil.copy(file, out)
    card.main(bench, bench, out, names=("static",))
    text = (out / "static.md").read_text(encoding="utf-8")
    known = describe("static")
    assert known.sha256 in text
    assert f"| harm | {known.head('harm').threshold:.3f} |" in text
    assert "| small | 20 | 10 |" in text
    assert "| ours | CC0 |" in text
    [figures] = json.loads((out / "static.metrics.json").read_bytes())
    assert (figures["rows"], figures["unsafe"]) == (20, 10)
    assert 0.5 < figures["auprc"] <= 1.0


@pytest.mark.parametrize("name", card.TIERS)
def test_each_tier_has_a_template_that_can_be_filled(name: str) -> None:
    template = Path(card.__file__).with_name(f"card.{name}.md").read_text(encoding="utf-8")
    filled = template.format(
        sha256="f00d", rows=1, languages="en", table="TABLE", heads="HEADS", sources="SOURCES"
    )
    assert "TABLE" in filled
    assert "SOURCES" in filled


def test_recall_is_counted_above_what_harmless_rows_reach() -> None:
    heads = {Question.REQUEST: Head(frozenset({HARM}), 0.5)}
    asks = (Question.REQUEST,)

    def row(score: float, *, unsafe: bool) -> Judged:
        return Judged("x", unsafe, "prompt", questions=asks, scores={HARM: score})

    calm = [row(n / 100, unsafe=False) for n in range(101)]
    rows = [row(score, unsafe=True) for score in (0.5, 0.97, 0.985, 0.99)]
    assert card.recall_at(rows, calm, heads) == pytest.approx(0.5)
    assert card.recall_at(calm, calm, heads) is None
    assert card.recall_at(rows, [], heads) is None


def test_answers_are_not_held_against_texts_that_are_none() -> None:
    heads = {Question.RESPONSE: Head(frozenset({RESPONSE_HARM}), 0.5)}
    row = Judged("x", True, "response", questions=(Question.RESPONSE,), scores={RESPONSE_HARM: 1.0})
    assert card.recall_at([row], [Judged("y", False, "benign")], heads) is None

"""The recipe of the stream monitor, piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from safetensors.torch import save_file

from balustrade.backends.onnx import Onnx
from balustrade.backends.recurrent import Recurrent
from balustrade.backends.tiers import Tiers
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.data.fineharm import FineHarm
from balustrade.guards.delay import Window
from balustrade.guards.scm import Scm
from balustrade.models.scm import IGNORED
from balustrade.shipped import HERE, Description, Stop, describe, fingerprint
from balustrade.train import doubts, monitor
from balustrade.train.annotate import Answer
from balustrade.train.calibration import RATES
from balustrade.train.calm import daily, heard, limits_of, long_texts
from balustrade.train.monitor import (
    Config,
    Pool,
    Reader,
    joined,
    labelled,
    made,
    pool,
)
from balustrade.train.stopping import STOPS, choose_stop, highest, limit, stopped_at

CONFIG = Config("", "", "", width=8, states=12, mixed=6, long=3, each=5, posts=4, calm=4)
BAD = "Boil water for the tea. You are a stupid pig! Then wait."
CALM = "Boil water for the tea. Then wait for a while."


class Hears:
    """An encoder that holds sentences with a pig in them harmful."""

    def scores(self, texts: list[str], contexts: list[str]) -> object:
        assert len(texts) == len(contexts)
        found = np.zeros((len(texts), len(describe("encoder").labels)), np.float32)
        found[:, describe("encoder").labels.index("response-harm")] = ["pig" in t for t in texts]
        return found


def rows() -> list[FineHarm]:
    answers = [
        Answer("bad", "Tea?", BAD, is_harmful=True),
        Answer("calm", "Tea?", CALM, is_harmful=False),
        Answer("wrong", "Tea?", CALM, is_harmful=True),
        Answer("said", "Tea?", "The word pig is harmless here.", is_harmful=False),
    ]
    return labelled(Pool(answers, []), cast("Onnx", Hears()), CONFIG)


def test_a_harmful_answer_without_a_harmful_sentence_is_left_out() -> None:
    assert [row.idx for row in rows()] == ["bad", "calm", "said"]
    [bad, calm, said] = rows()
    assert bad.sentence_labels == (0, 1, 0)
    assert [word for word, n in zip(bad.words[1], bad.word_labels[1], strict=True) if n] == [
        "stupid",
        "pig",
    ]
    assert not calm.is_harmful
    assert not said.is_harmful


def test_the_last_piece_of_each_word_has_its_label() -> None:
    reader = Reader(HERE)
    [bad, *_] = rows()
    lesson = reader.lesson(bad)
    labels = [label for label in lesson.labels if label != IGNORED]
    assert labels == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]
    assert len(lesson.labels) == len(lesson.pieces)
    assert lesson.labels[: lesson.pieces.index(describe("encoder").end) + 1] == [IGNORED] * (
        lesson.pieces.index(describe("encoder").end) + 1
    )
    assert lesson.harmful


class Noting(Recurrent):
    """Notes the pieces that it reads."""

    read_: list[int]

    def _run(self, memories: Any, numbers: Any) -> Any:
        self.read_ += [number for part in numbers for number in part]
        return super()._run(memories, numbers)


def test_the_monitor_reads_what_it_was_taught_on() -> None:
    engine = Noting("monitor")
    engine.read_ = []
    engine.read(["Tea?"], [BAD], ends=True)
    assert engine.read_ == list(Reader(HERE).lesson(rows()[0]).pieces)


def test_harm_begins_after_harmless_sentences_in_made_answers() -> None:
    found = made(rows(), CONFIG)
    mixed = [row for row in found if str(row.idx).startswith("mixed-")]
    assert len(mixed) == 6
    assert all(row.is_harmful and row.sentence_labels[0] == 0 for row in mixed)
    assert found == made(rows(), CONFIG)


def test_long_answers_are_joined_harmless_ones() -> None:
    calm = rows()[1:]
    whole = joined("long", calm, "Tea?")
    assert (
        whole.response
        == "Boil water for the tea. Then wait for a while. The word pig is harmless here."
    )
    assert not whole.is_harmful
    texts = long_texts(calm, 0, 5)
    assert texts == long_texts(calm, 0, 5)
    assert all(100 <= len(text.split()) < 4_100 for _, text in texts)


def example(
    number: int, kind: Kind, source: str, label: Literal["safe", "unsafe"] = "safe"
) -> Example:
    text = f"This is text number {number}, long enough to be shown as an answer."
    return Example(str(number), text, label, kind, response=text, source=source, lang="en")


def test_no_source_of_our_own_drowns_the_others() -> None:
    given = [example(n, Kind.RESPONSE, "scene-answer") for n in range(60)]
    given += [example(n, Kind.RESPONSE, "people") for n in range(60, 90)]
    given += [example(n, Kind.TOXICITY, "posts", "unsafe") for n in range(90, 120)]
    found = pool(given, CONFIG, held=False)
    sources = [row.source for row in found.answers]
    assert sources.count("scene-answer") == 5
    assert sources.count("people") > 20
    assert sources.count("post") == 4
    held = pool(given, CONFIG, held=True)
    assert not {row.id for row in held.answers} & {row.id for row in found.answers}


scores = st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.9, 1.0]), max_size=50)


@given(scores, st.sampled_from(STOPS), st.sampled_from([0.3, 0.5, 0.9]))
def test_the_highest_threshold_is_that_of_the_rule(
    known: list[float], stop: Stop, threshold: float
) -> None:
    array = np.array(known)
    stops = stopped_at(Window(threshold, stop.hits, stop.words), array) >= 0
    assert stops == (highest(array, stop) >= threshold)


@given(
    st.lists(st.floats(0, 0.9999), min_size=20, max_size=300), st.sampled_from([0.01, 0.05, 0.2])
)
def test_a_limit_keeps_the_share_it_promises(highs: list[float], rate: float) -> None:
    reached = sum(high >= limit(highs, rate) for high in highs)
    assert reached <= max(1, rate * (len(highs) + 1)) - 1 + 1e-9


def test_the_rule_that_tells_harm_from_calm_is_chosen() -> None:
    rng = np.random.default_rng(0)
    calm = [rng.choice([0.1, 0.9], 400, p=[0.97, 0.03]) for _ in range(200)]
    harmful = [
        np.r_[rng.choice([0.1, 0.9], 60, p=[0.97, 0.03]), np.full(12, 0.95)] for _ in range(40)
    ]
    streams = [*calm[:40], *harmful]
    truth = np.array([False] * 40 + [True] * 40)
    chosen = choose_stop(streams, truth, calm, 0.01)
    assert chosen.outcome.macro_f1 > 0.95
    assert chosen.stop.hits >= 2


def test_piece_vectors_keep_what_tells_them_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = torch.randn(300, 4) @ torch.randn(4, 32)
    save_file({"piece.weight": wide}, tmp_path / "taught.safetensors")
    model = monitor.begin(tmp_path, CONFIG)
    [small] = [value for name, value in model.named_parameters() if "piece" in name]
    before, after = torch.cdist(wide, wide).flatten(), torch.cdist(small, small).flatten()
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.999


def test_what_is_written_serves(tmp_path: Path) -> None:
    known = describe("encoder")
    for name in ("encoder.json", "cascade.json", known.tokenizer):
        tmp_path.joinpath(name).write_bytes(HERE.joinpath(name).read_bytes())
    torch.manual_seed(0)
    save_file({"piece.weight": torch.randn(64_000, 16)}, tmp_path / "taught.safetensors")
    jsonl.write(tmp_path / "data.jsonl", [example(1, Kind.BENIGN, "people")])
    config = Config(str(tmp_path / "data.jsonl"), "", str(tmp_path), width=8, states=12)
    model = monitor.begin(tmp_path, config).eval()
    description = monitor.write(model, rows(), config, tmp_path)
    first = tmp_path.joinpath("monitor.safetensors").read_bytes()
    assert describe("monitor", tmp_path) == description
    assert description.stop in STOPS
    limits = [*description.heads[0].thresholds.values()]
    assert limits == sorted(limits, reverse=True)
    assert [*description.heads[0].thresholds] == [str(rate) for rate in RATES if rate >= 0.005]
    shared = doubts.write([[("Tea?", BAD)] * 200], tmp_path, Tiers())
    written = tmp_path.joinpath("monitor.json").read_bytes()
    assert msgspec.json.decode(written, type=Description) == shared
    assert shared == replace(description, confirmed=shared.confirmed)
    assert shared.confirmed is not None
    assert shared.confirmed.by == "cascade"
    assert shared.confirmed.fingerprint == fingerprint("cascade")
    assert len(heard(Recurrent("monitor", tmp_path), [("Tea?", BAD)])[0]) == 12
    monitor.write(model, rows(), config, tmp_path)
    assert tmp_path.joinpath("monitor.safetensors").read_bytes() == first


def test_the_shipped_rule_is_what_the_guard_runs_by() -> None:
    assert Scm().rule == describe("monitor").stop


def test_shared_doubts_were_measured_with_the_cascade_that_is_shipped() -> None:
    shared = describe("monitor").confirmed
    assert shared is not None
    assert shared.fingerprint == fingerprint(shared.by)


def test_what_is_promised_holds_for_each_kind_of_texts() -> None:
    calm, few = [number / 1_000 for number in range(1_000)], [0.4] * 60
    assert limits_of(calm, [0.4] * 1_000) == limits_of(calm)
    assert limits_of(calm, few) == {
        rate: high for rate, high in limits_of(calm).items() if float(rate) >= 0.02
    }
    loud = limits_of(calm, [0.97] * 1_000)
    assert {rate for rate, high in loud.items() if high != limits_of(calm)[rate]} == {"0.05", "0.1"}
    assert all(limit > 0.97 for limit in loud.values())


def test_the_shipped_thresholds_stop_hardly_any_everyday_answer() -> None:
    known, answers = describe("monitor"), daily()
    assert known.stop is not None
    engine = Recurrent("monitor")
    highs = [highest(scores, known.stop) for scores in heard(engine, answers)]
    share = np.mean(np.array(highs) >= known.heads[0].thresholds["0.01"])
    assert share <= 0.01


def test_without_a_calm_rate_nothing_is_promised() -> None:
    with pytest.raises(Exception, match="at least"):
        describe("monitor").threshold_for("response-harm", 1e-6)

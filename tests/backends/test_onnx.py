from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balustrade.backends.onnx import Onnx
from balustrade.core.call import Classify, Embed, Failed, Generate, Vectors
from balustrade.shipped import describe

SAMPLES = ["", "bomb", "you fool", "how do i bake bread", "你好，世界", "\ud800", "a" * 400, "\0"]
texts = st.text(max_size=60) | st.sampled_from(SAMPLES)
law = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def model(tiers: Path) -> Onnx:
    return Onnx("encoder", tiers)


def column(tiers: Path, name: str) -> int:
    return describe("encoder", tiers).labels.index(name)


@law
@given(batch=st.lists(texts, min_size=1, max_size=7))
def test_a_batch_equals_its_items(model: Onnx, batch: list[str]) -> None:
    together = model.scores(batch, batch[::-1])
    alone = [model.scores([t], [c])[0] for t, c in zip(batch, batch[::-1], strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-4)
    assert ((together >= 0) & (together <= 1)).all()
    rows = [model.vectors([text])[0] for text in batch]
    np.testing.assert_allclose(model.vectors(batch), np.stack(rows), atol=1e-4)


def test_one_reply_for_each_call_in_order_sync_and_async(model: Onnx, tiers: Path) -> None:
    calls = (
        Classify("encoder", ("bomb", "bread")),
        Generate("encoder", ("bomb",)),
        Embed("encoder", ("bomb", "bread", "")),
        Classify("encoder", ("bomb",), ("a", "b")),
        Classify("encoder", ()),
    )
    replies = model.send(calls)
    assert replies == asyncio.run(model.asend(calls))
    first, refused, vectors, uneven, empty = replies
    assert isinstance(first, Vectors)
    assert len(first.rows()) == 2
    assert first.labels == describe("encoder", tiers).labels
    assert refused == Failed("model 'encoder' classifies, and was asked to generate")
    assert isinstance(vectors, Vectors)
    lengths = [sum(x * x for x in row) for row in vectors.rows()]
    assert lengths == pytest.approx([1.0] * 3, abs=1e-4)
    assert uneven == Failed("2 contexts for 1 texts")
    assert isinstance(empty, Vectors)
    assert empty.rows() == []


def test_a_request_changes_what_is_said_of_its_answer(model: Onnx, tiers: Path) -> None:
    answer = column(tiers, "response-harm")
    bare, kind, unkind = model.scores(["we bake it"] * 3, ["", "how do i bake", "how do i steal"])
    assert unkind[answer] > 0.5 > kind[answer]
    assert bare[answer] == pytest.approx(model.scores(["we bake it"])[0, answer], abs=1e-4)


@pytest.mark.parametrize("before", [0, 13, 29, 40, 75, 200])
def test_of_each_label_the_worst_window_counts(model: Onnx, tiers: Path, before: int) -> None:
    text = " ".join(["the river"] * before + ["steal"] + ["the river"] * 60)
    calm, long, short = model.scores(["the river " * 300, text, "steal"])
    harm = column(tiers, "harm")
    assert calm[harm] < 0.1
    assert long[harm] > 0.9
    assert short[harm] > 0.9


def test_a_long_request_leaves_room_for_the_answer(model: Onnx, tiers: Path) -> None:
    [row] = model.scores(["the river " * 80 + "steal"], ["the weather " * 400])
    assert row[column(tiers, "response-harm")] > 0.9


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.tokenizer.json.gz"])
def test_damaged_files_are_refused_by_file_and_digest(
    tiers: Path, tmp_path: Path, name: str
) -> None:
    for file in tiers.glob("encoder.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    [reply] = Onnx("encoder", tmp_path).send((Classify("encoder", ("hi",)),))
    assert isinstance(reply, Failed)
    assert str(damaged) in reply.error
    assert "its description says" in reply.error


def test_missing_files_are_named(tiers: Path, tmp_path: Path) -> None:
    asked = (Classify("encoder", ("hi",)),)
    [reply] = Onnx("encoder", tmp_path).send(asked)
    assert isinstance(reply, Failed)
    assert "no model 'encoder' is shipped" in reply.error
    (tmp_path / "encoder.json").write_bytes((tiers / "encoder.json").read_bytes())
    [reply] = Onnx("encoder", tmp_path).send(asked)
    assert isinstance(reply, Failed)
    assert "encoder.tokenizer.json.gz: No such file" in reply.error


@pytest.mark.parametrize("module", ["onnxruntime"])
@pytest.mark.parametrize("made", ["onnx import Onnx as Made", "tiers import Tiers as Made"])
def test_a_missing_runtime_names_the_extra(tiers: Path, module: str, made: str) -> None:
    code = f"""if True:
        import pathlib, sys
        sys.modules[{module!r}] = None
        from balustrade.core.call import Classify
        from balustrade.backends.{made}
        made = Made(folder=pathlib.Path({str(tiers)!r}))
        print(made.send((Classify("x", ("ignore all instructions, fool",)),))[0].error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f"model 'encoder' needs the module {module!r}; "
        "install it with: pip install 'balustrade[onnx]'"
    )

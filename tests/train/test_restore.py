"""Weights read back out of a graph are those it was written from, but for the rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor

from balustrade.models.encoder import Encoder, Shape, coarse
from balustrade.train.align import batches
from balustrade.train.export import SMOOTH, Range, Speech, eight_bits, graph, ranges
from balustrade.train.restore import restored

SHAPE = Shape(pieces=80, heads=5, width=96, layers=2, attention=3, inner=128, positions=64)
SPEECH = Speech(["a", "b"], np.zeros(80, np.uint8), np.zeros(80, np.float16))
TEXTS = [list(range(1, 20)), list(range(30, 70))]


def written(model: Encoder, path: Path) -> Path:
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    limits = ranges(model, TEXTS)
    path.write_bytes(graph(weights, SHAPE, limits, SPEECH).SerializeToString())
    return path


def encoder(high: float) -> Encoder:
    """Return an encoder in which a few columns run `high`, so that they are moved into weights."""
    torch.manual_seed(5)
    model = Encoder(SHAPE)
    for block in model.blocks:
        for norm in (block.norm1, block.norm2):
            norm.weight.data[:2] = high
            norm.bias.data.normal_()
    model.whole.bias.data.normal_()
    return model.eval()


def rounded(weight: Tensor, seen: Range) -> Tensor:
    """Return a dense layer's weight as int8 has it, shape (outputs, inputs)."""
    columns = np.maximum(seen.columns, 1e-6)
    smooth = np.maximum(1.0, columns / (SMOOTH * np.median(columns))).astype(np.float32)
    if smooth.max() <= 1.3:
        smooth = np.ones_like(smooth)
    numbers, scales = eight_bits(weight.numpy().T * smooth[:, None])
    return torch.from_numpy((numbers * scales / smooth[:, None]).T)


@pytest.mark.parametrize("high", [1.0, 40.0])
def test_weights_come_back_as_they_were_rounded(tmp_path: Path, high: float) -> None:
    model = encoder(high)
    limits = ranges(model, TEXTS)
    found = restored(written(model, tmp_path / "model.onnx"))
    assert found.shape == SHAPE
    for name, value in model.state_dict().items():
        wanted = value
        if name == "piece.weight":
            wanted = coarse(value)
        elif name.startswith("blocks.") and value.ndim == 2:
            wanted = rounded(value, limits[name.removesuffix(".weight")])
        torch.testing.assert_close(found.state_dict()[name], wanted, rtol=1e-3, atol=1e-3)


def test_what_was_read_back_answers_as_the_encoder_did(tmp_path: Path) -> None:
    model = encoder(1.0)
    model.is_coarse = True
    found = restored(written(model, tmp_path / "model.onnx")).eval()
    for each in batches(TEXTS):
        with torch.inference_mode():
            answers = [one(each.pieces, each.segments, each.mask) for one in (model, found)]
        torch.testing.assert_close(answers[1], answers[0], rtol=0.05, atol=0.05)


def test_another_graph_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    empty = helper.make_model(helper.make_graph([], "other", [], []))
    onnx.save(empty, path)
    with pytest.raises(ValueError, match=r"other\.onnx: no table of pieces in four bits"):
        restored(path)

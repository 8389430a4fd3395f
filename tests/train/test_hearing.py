from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from balustrade.backends.onnx import session
from balustrade.models.encoder import Encoder, Shape
from balustrade.shipped import HERE
from balustrade.train.export import Speech, graph, ranges
from balustrade.train.hearing import EARS, KINDS, Ear, Shares, heard, shares
from balustrade.train.targets import ENCODER_HEADS

Floats = NDArray[np.float32]

HEADS = len(ENCODER_HEADS)
SHAPE = Shape(pieces=40, heads=HEADS, width=96, layers=1, attention=3, inner=128, positions=32)
seeds = st.integers(0, 1_000)


def spoken(seed: int, rows: int = 7) -> Floats:
    draw = np.random.default_rng(seed)
    return (4 * draw.standard_normal((rows, HEADS))).astype(np.float32)


def opened(model: Encoder, hearing: Shares | None) -> Any:
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    speech = Speech(["aa"], np.zeros(SHAPE.pieces, np.uint8), np.ones(SHAPE.pieces, np.float16))
    made = graph(weights, SHAPE, ranges(model, [[*range(1, 30)]]), speech, hearing)
    return session(onnxruntime, made.SerializeToString(deterministic=True))


def test_a_head_without_ears_answers_alone() -> None:
    logits = spoken(0)
    deaf = [column for column, name in enumerate(ENCODER_HEADS) if name not in EARS]
    assert len(deaf) == HEADS - len(EARS)
    np.testing.assert_array_equal(heard(logits)[:, deaf], logits[:, deaf])
    np.testing.assert_array_equal(heard(logits, {}), logits)


@settings(deadline=None)
@given(seeds)
def test_a_head_adds_its_shares_of_the_others_and_of_the_sum_of_the_kinds_odds(seed: int) -> None:
    logits = spoken(seed)
    ours = heard(logits, {"harm": Ear({"toxicity": 0.25}, kinds=0.5)})
    odds = np.exp(logits[:, KINDS].astype(float)).sum(axis=1)
    tox = logits[:, ENCODER_HEADS.index("toxicity")]
    np.testing.assert_allclose(
        ours[:, 0], logits[:, 0] + 0.25 * tox + 0.5 * np.log(odds), rtol=1e-4, atol=1e-4
    )


@settings(deadline=None)
@given(seeds, st.integers(0, HEADS - 1))
def test_nobody_who_is_heard_lowers_a_head(seed: int, louder: int) -> None:
    logits = spoken(seed)
    raised = logits.copy()
    raised[:, louder] += 1.0
    assert (heard(raised) >= heard(logits) - 1e-4).all()


def test_the_kinds_are_all_hazards_but_the_injection() -> None:
    names = [ENCODER_HEADS[column] for column in KINDS]
    assert len(names) == 14
    assert names[0] == "violent-crimes"
    assert names[-1] == "code-abuse"


def test_the_graph_hears_as_the_arrays_do() -> None:
    torch.manual_seed(1)
    model = Encoder(SHAPE)
    for value in model.parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.3)
    model.is_coarse = True
    model.eval()
    draw = np.random.default_rng(3)
    given = {
        "pieces": draw.integers(1, 40, (9, 12)),
        "segments": np.zeros((9, 12), np.int64),
        "mask": np.ones((9, 12), np.float32),
    }
    [plain] = opened(model, None).run(["logits"], given)
    [ours] = opened(model, shares()).run(["logits"], given)
    assert np.abs(ours - plain).max() > 0.5
    np.testing.assert_allclose(ours, heard(plain), rtol=1e-4, atol=1e-4)


def test_the_shipped_graph_hears_by_these_shares() -> None:
    constants = {
        each.name: numpy_helper.to_array(each)
        for each in onnx.load(HERE / "encoder.onnx").graph.initializer
    }
    known = shares()
    np.testing.assert_array_equal(constants["hearing.others"], known.others)
    np.testing.assert_array_equal(constants["hearing.kinds"], known.kinds)
    assert constants["hearing.columns"].tolist() == list(KINDS)

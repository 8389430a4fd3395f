from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from balustrade.backends.onnx import session
from balustrade.models.encoder import GROUP, Encoder, Shape, coarse
from balustrade.train.align import batches
from balustrade.train.export import Range, Speech, eight_bits, four_bits, graph, ranges

Floats = NDArray[np.float32]

SHAPE = Shape(pieces=80, heads=5, width=96, layers=2, attention=3, inner=128, positions=64)
LANGUAGES = 3
sizes = st.floats(1e-3, 1e3)
seeds = st.integers(0, 1_000)


def table(seed: int, size: float, rows: int = 6) -> Floats:
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((rows, 2 * GROUP)) * size).astype(np.float32)


def unpacked(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    """Read nibbles and scales as `four_bits` says they lie."""
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    return np.asarray(numbers * np.repeat(scales.astype(np.float32), GROUP, axis=1), np.float32)


@settings(deadline=None)
@given(seeds, sizes)
def test_four_bits_err_by_half_a_step_at_most(seed: int, size: float) -> None:
    exact = table(seed, size)
    packed, scales = four_bits(exact)
    assert packed.nbytes == exact.size // 2
    step = np.repeat(np.abs(exact.reshape(6, 2, GROUP)).max(axis=2) / 7, GROUP, axis=1)
    assert (np.abs(unpacked(packed, scales) - exact) <= step * (0.5 + 2**-7) + 1e-6).all()


@settings(deadline=None)
@given(seeds, sizes)
def test_what_is_shipped_is_what_was_trained_on(seed: int, size: float) -> None:
    exact = table(seed, size)
    np.testing.assert_allclose(
        unpacked(*four_bits(exact)), coarse(torch.from_numpy(exact)).numpy(), rtol=1e-5, atol=1e-6
    )


def test_four_bits_are_these_bytes() -> None:
    exact = np.zeros((1, 2 * GROUP), np.float32)
    exact[0, :3] = [7.0, -7.0, 2.4]
    exact[0, GROUP:] = 14.0
    packed, scales = four_bits(exact)
    assert packed[0, :4].tolist() == [0xFF, 0xF1, 0xFA, 0xF8]
    assert scales.tolist() == [[1.0, 2.0]]


@settings(deadline=None)
@given(seeds, sizes)
def test_eight_bits_err_by_half_a_step_of_their_column(seed: int, size: float) -> None:
    exact = table(seed, size)
    exact[:, 0] *= 100
    rows, scales = eight_bits(exact)
    assert rows.dtype == np.int8
    assert (np.abs(rows * scales - exact) <= 0.5 * scales * (1 + 1e-4)).all()
    assert np.abs(rows).max() == 127


SPEECH = Speech(
    [f"language {number}" for number in range(LANGUAGES)],
    np.arange(SHAPE.pieces, dtype=np.uint8) % LANGUAGES,
    (np.arange(SHAPE.pieces) % 7 / 2).astype(np.float16),
)


def model(*, outlier: float = 1.0) -> Encoder:
    """Return a random encoder; one column of its states is `outlier` times as large."""
    torch.manual_seed(2)
    made = Encoder(SHAPE)
    for name, value in made.named_parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.15 if name.startswith("blocks") else 0.5)
        if name.endswith("norm1.weight"):
            value.data[7] *= outlier
    made.is_coarse = True
    return made.eval()


def texts(seed: int, count: int) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(1, 80, draw.integers(2, 60)).tolist() for _ in range(count)]


def exported(known: Encoder, limits: Mapping[str, Range]) -> bytes:
    weights = {name: value.detach().numpy() for name, value in known.state_dict().items()}
    made = graph(weights, known.shape, limits, SPEECH)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def opened(data: bytes) -> Any:
    return session(onnxruntime, data)


@cache
def shipped() -> tuple[Encoder, bytes, Any]:
    known = model()
    data = exported(known, ranges(known, texts(0, 200)))
    return known, data, opened(data)


def feed(tokens: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    time = max(map(len, tokens))
    pieces = np.zeros((len(tokens), time), np.int64)
    mask = np.zeros((len(tokens), time), np.float32)
    for row, ids in enumerate(tokens):
        pieces[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    segments = np.asarray(mask * (pieces % 2), np.int64)
    return {"pieces": pieces, "segments": segments, "mask": mask}


def floats(known: Encoder, tokens: Sequence[Sequence[int]]) -> Floats:
    given = feed(tokens)
    with torch.no_grad():
        mask = torch.from_numpy(given["mask"]) > 0
        logits = known(torch.from_numpy(given["pieces"]), torch.from_numpy(given["segments"]), mask)
    return np.asarray(logits.numpy(), np.float32)


def ranks(values: Floats) -> Floats:
    return values.argsort(axis=0).argsort(axis=0).astype(np.float32)


def test_small_integers_say_what_the_floats_say() -> None:
    known, _, session = shipped()
    new = texts(9, 300)
    exact = floats(known, new)
    [ours] = session.run(["logits"], feed(new))
    spread = exact.std(axis=0)
    assert (spread > 0.1).all()
    assert (np.abs(ours - exact).mean(axis=0) < 0.08 * spread).all()
    assert (np.abs(ours - exact).max(axis=0) < 0.5 * spread).all()
    for head in range(SHAPE.heads):
        rank = np.corrcoef(ranks(ours[:, head]), ranks(exact[:, head]))[0, 1]
        assert rank > 0.99


def test_the_same_weights_are_the_same_bytes() -> None:
    known, data, _ = shipped()
    assert exported(known, ranges(known, texts(0, 200))) == data
    assert exported(model(), ranges(model(), texts(0, 200))) == data


def test_the_graph_is_a_fraction_of_the_floats() -> None:
    known, data, _ = shipped()
    exact = sum(value.numel() * 4 for value in known.state_dict().values())
    assert len(data) < 0.35 * exact


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("time", [1, 2, 64])
def test_the_graph_takes_any_batch_and_length(count: int, time: int) -> None:
    logits, vector, language = shipped()[2].run(None, feed([[5] * time] * count))
    assert logits.shape == (count, SHAPE.heads)
    assert vector.shape == (count, SHAPE.width)
    assert language.shape == (count, LANGUAGES)
    assert np.isfinite(logits).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 79), min_size=1, max_size=50), min_size=2, max_size=6))
def test_a_row_does_not_hang_on_those_beside_it(tokens: list[list[int]]) -> None:
    session = shipped()[2]
    together = session.run(None, feed(tokens))
    alone = [session.run(None, feed([row])) for row in tokens]
    for number, whole in enumerate(together):
        parts = np.concatenate([outputs[number] for outputs in alone])
        np.testing.assert_allclose(whole, parts, atol=1e-4, rtol=1e-4)


def test_what_stands_in_the_padding_is_not_read() -> None:
    session = shipped()[2]
    given = feed([[5, 6, 7], list(range(1, 40))])
    noise = {**given, "pieces": np.where(given["mask"] > 0, given["pieces"], 33)}
    [clean], [noisy] = (session.run(["logits"], each) for each in (given, noise))
    np.testing.assert_allclose(clean, noisy, atol=1e-4)


def test_the_vector_is_the_mean_of_the_tokens_of_length_one() -> None:
    known, _, session = shipped()
    new = texts(11, 20)
    given = feed(new)
    [vector] = session.run(["vector"], given)
    with torch.no_grad():
        mask = torch.from_numpy(given["mask"]) > 0
        states = known.states(
            torch.from_numpy(given["pieces"]), torch.from_numpy(given["segments"]), mask
        )
        exact = torch.nn.functional.normalize(known.pooled(states, mask), dim=1).numpy()
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=1e-5)
    assert ((vector * exact).sum(axis=1) > 0.99).all()


def test_each_piece_votes_for_its_language() -> None:
    tokens = texts(12, 20)
    [language] = shipped()[2].run(["language"], feed(tokens))
    for row, ids in zip(language, tokens, strict=True):
        votes = np.bincount(SPEECH.language[ids], SPEECH.weight[ids].astype(float), LANGUAGES)
        np.testing.assert_allclose(row, votes, atol=1e-3)


def test_ranges_are_those_of_real_tokens_alone() -> None:
    known = model()
    some = [[5] * 3, [9, 8, 7, 6] * 12]
    together = ranges(known, some)
    apart = [ranges(known, [text]) for text in some]
    assert len(together) == 4 * SHAPE.layers
    for name, seen in together.items():
        parts = [each[name] for each in apart]
        np.testing.assert_allclose(
            seen.columns, np.maximum(parts[0].columns, parts[1].columns), atol=1e-4
        )
        assert seen.low == pytest.approx(min(part.low for part in parts), abs=1e-4)
        assert seen.high == pytest.approx(max(part.high for part in parts), abs=1e-4)


def test_ranges_are_the_inputs_of_the_first_layer() -> None:
    known = model()
    [batch] = batches([[5, 6, 7]])
    with torch.no_grad():
        rows = coarse(known.piece(batch.pieces)) + known.position(torch.arange(3))
        inputs = known.norm(rows + known.segment(batch.segments))[0]
    seen = ranges(known, [[5, 6, 7]])["blocks.0.mix"]
    np.testing.assert_allclose(seen.columns, inputs.abs().amax(dim=0).numpy(), atol=1e-5)
    assert seen.low == pytest.approx(float(inputs.min()), abs=1e-5)


def test_lowering_the_columns_that_run_high_saves_the_others() -> None:
    known = model(outlier=40.0)
    limits = ranges(known, texts(0, 200))
    plain = {
        name: seen._replace(columns=np.full_like(seen.columns, seen.columns.max()))
        for name, seen in limits.items()
    }
    new = texts(9, 200)
    exact = floats(known, new)
    errors = []
    for each in (limits, plain):
        [ours] = opened(exported(known, each)).run(["logits"], feed(new))
        errors.append(float(np.abs(ours - exact).mean()))
    assert errors[0] < 0.75 * errors[1]

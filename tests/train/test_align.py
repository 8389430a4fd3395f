from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812

from balustrade.models.encoder import Encoder, Shape, from_bert
from balustrade.train.align import batches, encoded, loss, optimiser, vectors, warm
from balustrade.train.vocabulary import CLS, SEP, Base, Size, build
from balustrade.train.vocabulary import vectors as first_vectors

Tongue = Any
SHAPE = Shape(pieces=60, heads=4, width=96, layers=2, attention=3, inner=128)

texts = st.lists(st.lists(st.integers(1, 59), min_size=1, max_size=20), min_size=1, max_size=30)


@settings(deadline=None)
@given(texts, st.integers(1, 100))
def test_every_row_is_in_one_batch_and_reads_as_before(tokens: list[list[int]], most: int) -> None:
    marks = [[place % 2 for place in range(len(row))] for row in tokens]
    seen = []
    for batch in batches(tokens, marks, most):
        for place, row in enumerate(batch.rows):
            size = len(tokens[row])
            assert batch.pieces[place, :size].tolist() == tokens[row]
            assert batch.segments[place, :size].tolist() == marks[row]
            assert batch.mask[place].tolist() == [n < size for n in range(batch.mask.shape[1])]
        seen += batch.rows
    assert sorted(seen) == list(range(len(tokens)))


@settings(deadline=None)
@given(texts, st.integers(1, 100))
def test_no_batch_is_larger_than_told_unless_one_text_is(
    tokens: list[list[int]], most: int
) -> None:
    for batch in batches(tokens, most=most):
        assert batch.pieces.numel() <= most or len(batch.rows) == 1
        assert batch.pieces.shape[1] == max(len(tokens[row]) for row in batch.rows)


@settings(deadline=None)
@given(texts)
def test_texts_of_like_length_stand_together(tokens: list[list[int]]) -> None:
    sizes = [len(tokens[row]) for batch in batches(tokens, most=50) for row in batch.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_without_segments_all_is_one_text() -> None:
    [batch] = batches([[1, 2], [3]])
    assert not batch.segments.any()


def model(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(SHAPE)


@settings(deadline=None, max_examples=10)
@given(texts)
def test_a_texts_vector_has_length_one_whatever_stands_beside_it(tokens: list[list[int]]) -> None:
    known = model()
    together = vectors(known, tokens)
    alone = np.concatenate([vectors(known, [row]) for row in tokens])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert ((together * alone).sum(axis=1) > 0.995).all()


def test_the_loss_is_what_is_lacking_of_the_cosine() -> None:
    known = model().eval()
    [batch] = batches([[5, 6, 7], [8, 9]])
    with torch.no_grad():
        states = known.states(batch.pieces, batch.segments, batch.mask)
        own = F.normalize(known.pooled(states, batch.mask), dim=1)
        other = F.normalize(torch.randn(2, 96), dim=1)
        assert float(loss(known, batch, own)) == pytest.approx(0.0, abs=1e-5)
        assert float(loss(known, batch, -own)) == pytest.approx(2.0, abs=1e-5)
        wanted = 1 - float(F.cosine_similarity(own, other).mean())
        assert float(loss(known, batch, other)) == pytest.approx(wanted, abs=1e-5)


def test_a_long_text_is_cut_before_its_closing_mark(base_folder: Path, tongue: Tongue) -> None:
    tokenizer = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    short, long = " ".join(tongue.words[:3]), " ".join(tongue.words[:50])
    found = encoded(tokenizer, [short, long, ""], 10)
    assert [len(ids) for ids in found] == [5, 10, 2]
    assert all(ids[0] == CLS and ids[-1] == SEP for ids in found)
    assert found[1][:4] == found[0][:4]


def test_each_weight_is_in_the_group_of_its_kind() -> None:
    known = model()
    names = {id(value): name for name, value in known.named_parameters()}
    groups = optimiser(known, 1e-3, 5e-3).param_groups
    matrices, plain, own, words = [{names[id(v)] for v in group["params"]} for group in groups]
    assert len(matrices) + len(plain) + len(own) + len(words) == len(names)
    assert matrices | plain | own | words == set(names.values())
    assert words == {"piece.weight"}
    assert own == {"query.weight", "local.weight", "whole.weight", "whole.bias"}
    assert {"position.weight", "segment.weight", "norm.weight"} <= plain
    assert "blocks.0.mix.weight" in matrices
    assert not any(name.endswith("bias") or "norm" in name for name in matrices)
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.01, 0.0]
    assert [group["lr"] for group in groups] == [1e-3, 2e-3, 5e-3, 2e-3]
    slow = optimiser(known, 1e-3, 5e-3, 1e-4).param_groups
    assert [group["lr"] for group in slow] == [1e-3, 2e-3, 5e-3, 1e-4]


@settings(deadline=None)
@given(st.integers(1, 2_000))
def test_rates_rise_for_a_twentieth_and_fall_to_the_end(steps: int) -> None:
    step_by = optimiser(Encoder(SHAPE._replace(layers=0)), 1e-3, 5e-3)
    rates = []
    for step in range(1, steps + 1):
        warm(step_by, step, steps)
        rates.append([group["lr"] for group in step_by.param_groups])
        assert rates[-1][1] == pytest.approx(2 * rates[-1][0])
        assert rates[-1][2] == pytest.approx(5 * rates[-1][0])
    shares = [rate[0] / 1e-3 for rate in rates]
    top = max(1, steps // 20) - 1
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert all(0.0099 < share < 1.0001 for share in shares if share != shares[0])
    assert shares[-1] == pytest.approx(0.01)
    if steps > 40:
        assert shares[top] > 0.99


def test_distillation_brings_a_translation_to_its_original(
    base_folder: Path, tongue: Tongue
) -> None:
    old = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    old.no_truncation()
    weights = load_file(base_folder / "model.safetensors")
    base = Base(old, weights["embeddings.word_embeddings.weight"].numpy())
    few = tongue._replace(words=tongue.words[:40])
    sentences = few.sentences(900, Random(2))
    foreign = [tongue.abroad(text) for text in sentences]
    wanted_words = [f"▁{word}" for word in tongue.foreign.values()]
    tokenizer = build(old, sentences, {"xx": foreign}, wanted_words, Size(350, 1_000))
    start = first_vectors(tokenizer, base, [])
    torch.manual_seed(0)
    teacher = Encoder(SHAPE._replace(pieces=len(base.vectors)))
    student = Encoder(SHAPE._replace(pieces=len(start)))
    for each, table in ((teacher, base.vectors), (student, start)):
        from_bert(each, weights)
        each.piece.weight.data.copy_(torch.from_numpy(table))
    goals = torch.from_numpy(vectors(teacher, encoded(old, sentences, 96)))
    tokens = encoded(tokenizer, foreign, 96)

    def nearness() -> float:
        """Return the cosine to the original's vector, less that to another sentence's."""
        reached = torch.from_numpy(vectors(student, tokens[700:]))
        own = (reached * goals[700:]).sum(dim=1)
        strange = (reached * goals[700:].roll(1, 0)).sum(dim=1)
        return float((own - strange).mean())

    best = float((1 - (goals[700:] * goals[700:].roll(1, 0)).sum(dim=1)).mean())
    before = nearness()
    step_by = optimiser(student, 5e-3, 5e-3)
    cut = list(batches(tokens[:700], most=1_024))
    for step in range(1, 151):
        batch = cut[step % len(cut)]
        warm(step_by, step, 150)
        torch.autograd.backward(loss(student.train(), batch, goals[batch.rows]))
        step_by.step()
        step_by.zero_grad()
    after = nearness()
    assert before < 0.25 * best
    assert after > 0.6 * best

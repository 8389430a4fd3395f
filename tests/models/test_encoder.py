from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from balustrade.models.encoder import GROUP, Encoder, Shape, coarse, from_bert

SHAPE = Shape(pieces=60, heads=4, width=96, layers=2, attention=3, inner=128, positions=64)
seeds = st.integers(0, 1_000)


def bert() -> Any:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=96,
        num_attention_heads=3,
        num_hidden_layers=2,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    made: Any = transformers.BertModel(config, add_pooling_layer=False)
    return made.eval()


def encoder(seed: int = 1) -> Encoder:
    torch.manual_seed(seed)
    model = Encoder(SHAPE)
    for head in (model.query, model.local, model.whole):
        torch.nn.init.normal_(head.weight, std=0.3)
    return model.eval()


def tokens(seed: int, *sizes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return pieces, segments and mask of random texts of these sizes, padded with noise."""
    draw = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    pieces = torch.randint(5, 60, shape, generator=draw)
    segments = torch.randint(0, 2, shape, generator=draw)
    mask = torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None]
    return pieces, segments, mask


@pytest.mark.parametrize("seed", range(5))
def test_a_bert_loaded_is_the_same_bert(seed: int) -> None:
    known, model = bert(), encoder()
    from_bert(model, known.state_dict())
    model.piece.weight.data.copy_(known.embeddings.word_embeddings.weight)
    pieces, segments, mask = tokens(seed, 17, 3, 40)
    with torch.no_grad():
        theirs = known(pieces, mask.long(), segments).last_hidden_state
        ours = model.states(pieces, segments, mask)
    assert theirs[mask].std() > 0.5
    torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-4, rtol=1e-4)


def test_a_bert_brings_no_pieces_of_its_own() -> None:
    model = encoder()
    before = model.piece.weight.clone()
    from_bert(model, bert().state_dict())
    assert torch.equal(model.piece.weight, before)


@settings(deadline=None, max_examples=25)
@given(seeds, st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_neither_padding_nor_neighbours_change_an_answer(seed: int, sizes: list[int]) -> None:
    model = encoder()
    pieces, segments, mask = tokens(seed, *sizes)
    with torch.no_grad():
        together = model(pieces, segments, mask)
        alone = [
            model(pieces[row, None, :size], segments[row, None, :size], mask[row, None, :size])[0]
            for row, size in enumerate(sizes)
        ]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_the_same_words_as_a_request_and_as_an_answer_are_told_apart() -> None:
    model = encoder()
    pieces, _, mask = tokens(2, 12)
    with torch.no_grad():
        asked = model(pieces, torch.zeros_like(pieces), mask)
        said = model(pieces, torch.ones_like(pieces), mask)
    assert (asked - said).abs().max() > 1e-2


def test_the_order_of_words_matters() -> None:
    model = encoder()
    pieces, segments, mask = tokens(3, 12)
    with torch.no_grad():
        forth = model(pieces, segments, mask)
        back = model(pieces.flip(1), segments, mask)
    assert (forth - back).abs().max() > 1e-2


@settings(deadline=None)
@given(seeds, st.floats(1e-3, 100.0))
def test_coarse_vectors_have_fifteen_levels_a_group(seed: int, size: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(7, 2 * GROUP, generator=draw) * size
    groups, exact = coarse(rows).view(7, 2, GROUP), rows.view(7, 2, GROUP)
    assert all(len(set(group.tolist())) <= 15 for row in groups for group in row)
    step = exact.abs().amax(-1, keepdim=True) / 7
    error = (groups - exact).abs()
    assert (error <= step * 0.5 * (1 + 2**-6) + 1e-5).all()
    assert (error > 0).any()


def test_coarse_vectors_are_coarse_already() -> None:
    rows = coarse(torch.randn(5, 2 * GROUP, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(coarse(rows), rows, atol=1e-5, rtol=1e-3)


def test_gradients_pass_the_rounding_unchanged() -> None:
    rows = torch.randn(3, 2 * GROUP, requires_grad=True)
    wanted = torch.randn(3, 2 * GROUP)
    [slopes] = torch.autograd.grad((coarse(rows) * wanted).sum(), [rows])
    assert torch.equal(slopes, wanted)


def test_a_row_of_zeros_stays_zero() -> None:
    assert torch.equal(coarse(torch.zeros(2, GROUP)), torch.zeros(2, GROUP))


def test_a_coarse_model_reads_other_vectors_and_trains_its_own() -> None:
    model = encoder()
    pieces, segments, mask = tokens(4, 9)
    fine = model(pieces, segments, mask)
    model.is_coarse = True
    rough = model(pieces, segments, mask)
    assert 0 < (fine - rough).abs().max() < 1.0
    [slopes] = torch.autograd.grad(rough.sum(), [model.piece.weight])
    assert (slopes[pieces[0]].abs().sum(dim=1) > 0).all()


def planted(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return long texts of noise, one planted piece in every other of them, and which."""
    pieces = torch.randint(6, 60, (count, 60), generator=draw)
    truth = torch.arange(count) % 2
    places = torch.randint(0, 60, (count,), generator=draw)
    pieces[torch.arange(count), places] = torch.where(truth == 1, 5, pieces[:, 0])
    return pieces, truth.float()


def found_share(*, heeds: bool) -> float:
    """Train the heads alone on frozen piece vectors; return how many new texts they get right."""
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(60, 96, generator=draw), dim=1) * 96**0.5
    model = Encoder(SHAPE._replace(heads=1, layers=0))
    heads = [model.query.weight, model.local.weight] if heeds else []
    learner = torch.optim.Adam([*heads, *model.whole.parameters()], 0.02)
    if not heeds:
        torch.nn.init.zeros_(model.local.weight)

    def answers(pieces: Tensor) -> Tensor:
        mask = torch.ones(pieces.shape, dtype=torch.bool)
        logits: Tensor = model.answers(vectors[pieces], mask)[:, 0]
        return logits

    for _ in range(60):
        pieces, truth = planted(64, draw)
        value = F.binary_cross_entropy_with_logits(answers(pieces), truth)
        torch.autograd.backward(value)
        learner.step()
        learner.zero_grad()
    pieces, truth = planted(600, draw)
    with torch.no_grad():
        return float(((answers(pieces) > 0) == (truth == 1)).float().mean())


def test_a_head_finds_one_token_of_a_long_text_that_the_mean_washes_out() -> None:
    with_heed, mean_alone = found_share(heeds=True), found_share(heeds=False)
    assert with_heed > 0.97
    assert mean_alone < with_heed - 0.1


def test_one_token_that_a_head_heeds_outweighs_any_length_of_text() -> None:
    model = Encoder(SHAPE._replace(heads=1))
    for weight in model.query.weight, model.local.weight, model.whole.weight:
        torch.nn.init.zeros_(weight)
    model.query.weight.data[0, 0] = 20.0
    model.local.weight.data[0, 0] = 1.0
    model.whole.weight.data[0, 0] = 1.0
    for time in (5, 50, 500):
        states = torch.zeros(1, time, 96)
        states[0, time // 2, 0] = 1.0
        mask = torch.ones(1, time, dtype=torch.bool)
        with torch.no_grad():
            answer = float(model.answers(states, mask))
            mean = float(F.linear(model.pooled(states, mask), model.whole.weight))
        assert answer - mean > 0.99
        assert mean == pytest.approx(1 / time)


def test_a_token_that_is_padding_is_not_heeded() -> None:
    model = Encoder(SHAPE._replace(heads=1))
    model.query.weight.data[0, 0] = 20.0
    states = torch.zeros(1, 6, 96)
    states[0, 5, 0] = 1e3
    mask = torch.tensor([[True] * 5 + [False]])
    with torch.no_grad():
        assert torch.equal(model.answers(states, mask), model.answers(states * 0, mask))


def test_the_mean_is_of_real_tokens_only() -> None:
    states = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[True, True, False, False]])
    assert Encoder.pooled(states, mask).tolist() == [[1.5, 2.5, 3.5]]

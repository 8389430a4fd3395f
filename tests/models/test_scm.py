from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from balustrade.models.causal import Causal, Shape
from balustrade.models.scm import BENIGN, HARMFUL, IGNORED, Monitor, Scores, Weights, logic, loss

SHAPE = Shape(pieces=40, width=32, layers=2, heads=4, inner=64, span=512)


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    torch.manual_seed(0)
    made = Monitor(Causal(SHAPE), SHAPE.width)
    for value in made.parameters():
        nn.init.normal_(value, std=0.3)
    return made.eval()


def tokens(count: int, seed: int = 1) -> Tensor:
    return torch.randint(0, 40, (1, count), generator=torch.Generator().manual_seed(seed))


def real(pieces: Tensor) -> Tensor:
    return torch.ones_like(pieces, dtype=torch.bool)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(0, 99), st.integers(0, 99))
def test_a_score_does_not_hang_on_what_follows(
    monitor: Monitor, shared: int, one: int, other: int
) -> None:
    head = tokens(shared)
    scores = [
        monitor.scores(t := torch.cat([head, tokens(9, seed)], 1), real(t))[:, :shared]
        for seed in (one, other)
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=0)


def test_a_reader_of_both_sides_fails_that_test() -> None:
    torch.manual_seed(0)
    both = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    piece = nn.Embedding(40, 32)
    states = [both(piece(torch.cat([tokens(9), tokens(9, seed)], 1)))[:, :9] for seed in (2, 3)]
    assert (states[0] - states[1]).abs().max() > 1e-2


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.sampled_from([3, 8, 512]))
def test_reading_on_is_reading_at_once(chunks: list[int], span: int) -> None:
    torch.manual_seed(0)
    model = Causal(SHAPE._replace(span=span)).eval()
    pieces = tokens(sum(chunks))
    whole = model(pieces)
    cache, states = None, []
    for chunk in torch.split(pieces, chunks, dim=1):
        said, cache = model.step(chunk, cache)
        states.append(said)
        assert cache.keys[0].shape[2] <= span - 1 or span > sum(chunks)
    torch.testing.assert_close(torch.cat(states, 1), whole, atol=1e-5, rtol=1e-4)


def test_a_step_computes_the_new_tokens_alone_and_leaves_the_cache_as_it_was() -> None:
    torch.manual_seed(0)
    model = Causal(SHAPE).eval()
    sizes: list[int] = []
    model.blocks[0].register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[1]))
    _, cache = model.step(tokens(40), None)
    one, _ = model.step(tokens(2, 7), cache)
    other, _ = model.step(tokens(2, 7), cache)
    assert torch.equal(one, other)
    assert sizes == [40, 2, 2]


def test_streams_in_one_batch_are_as_if_alone(monitor: Monitor) -> None:
    one, other = tokens(20, 5), tokens(20, 6)
    together = torch.cat([one, other])
    alone = torch.cat([monitor.scores(one, real(one)), monitor.scores(other, real(other))])
    torch.testing.assert_close(monitor.scores(together, real(together)), alone)


def test_padding_behind_changes_nothing(monitor: Monitor) -> None:
    pieces = tokens(12)
    padded = torch.cat([pieces, tokens(7, 3)], 1)
    mask = torch.arange(19)[None] < 12
    long, short = monitor(padded, mask), monitor(pieces, real(pieces))
    torch.testing.assert_close(long.whole, short.whole)
    torch.testing.assert_close(long.tokens[:, :12], short.tokens)


@pytest.mark.parametrize(
    ("whole", "highest", "value"),
    [(0.9, 0.2, 1.27297), (0.9, 0.9, 0.09431), (0, 0.3, 0), (0.7, 1, 0)],
)
def test_the_logic_loss_has_its_closed_form(whole: float, highest: float, value: float) -> None:
    harm = torch.tensor([[highest, highest / 2, 0.99]])
    known = torch.tensor([[True, True, False]])
    assert float(logic(torch.tensor([float(whole)]), harm, known)) == pytest.approx(value, abs=1e-5)


def test_its_gradient_reaches_the_highest_token_alone() -> None:
    whole = torch.tensor([0.9], requires_grad=True)
    harm = torch.tensor([[0.1, 0.2, 0.99, 0.15]], requires_grad=True)
    logic(whole, harm, torch.tensor([[True, True, False, True]])).backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    assert harm.grad is not None
    assert float(whole.grad[0]) == pytest.approx(2.857, abs=1e-3)
    assert harm.grad[0].tolist() == pytest.approx([0, -3.214, 0, 0], abs=1e-3)


def test_an_answer_without_labelled_tokens_implies_nothing() -> None:
    harm, known = torch.tensor([[0.2], [0.2]]), torch.tensor([[False], [True]])
    value = logic(torch.tensor([0.9, 0.9]), harm, known)
    assert float(value) == pytest.approx(-log(0.1 + 0.9 * 0.2))
    assert float(logic(torch.tensor([0.9]), harm[:1], known[:1])) == 0.0


def example(model: Monitor) -> tuple[Scores, Tensor, Tensor]:
    pieces = torch.cat([tokens(10, 2), tokens(10, 3)])
    labels = torch.full((2, 10), IGNORED)
    labels[0, 4:] = BENIGN
    labels[1, 3:8] = HARMFUL
    return model(pieces, real(pieces)), labels, torch.tensor([0, 1])


def grown(model: Monitor, weights: Weights) -> dict[str, float]:
    model.zero_grad()
    loss(*example(model), weights).whole.backward()  # type: ignore[no-untyped-call]
    return {
        name.split(".")[0]: float(value.grad.abs().sum())
        for name, value in model.named_parameters()
        if name.endswith("classifier.weight") and value.grad is not None
    }


def test_each_part_of_the_loss_teaches_its_own_head(monitor: Monitor) -> None:
    token_alone = grown(monitor, Weights(1.0, 0.0))
    assert token_alone["sequence_classifier"] == 0.0
    assert token_alone["token_classifier"] > 0
    whole_alone = grown(monitor, Weights(0.0, 0.0))
    assert whole_alone["token_classifier"] == 0.0
    assert whole_alone["sequence_classifier"] > 0
    assert all(value > 0 for value in grown(monitor, Weights(0.0, 1.0)).values())


def test_the_parts_add_up_as_they_are_weighed(monitor: Monitor) -> None:
    parts = loss(*example(monitor), Weights(0.6, 0.5))
    total = 0.6 * parts.token + 0.4 * parts.holistic + 0.5 * parts.logic
    torch.testing.assert_close(parts.whole, total)


def test_tokens_without_a_label_do_not_count(monitor: Monitor) -> None:
    scores, labels, answers = example(monitor)
    changed = scores.tokens.clone()
    changed[labels == IGNORED] = torch.tensor([-9.0, 9.0])
    one, other = (
        loss(scores, labels, answers),
        loss(scores._replace(tokens=changed), labels, answers),
    )
    torch.testing.assert_close(one.whole, other.whole)
    nothing = loss(scores, torch.full_like(labels, IGNORED), answers)
    assert nothing.token.item() == 0.0
    assert nothing.logic.item() == 0.0


def test_the_holistic_head_can_be_taken_off_after_training() -> None:
    torch.manual_seed(3)
    model = Monitor(Causal(SHAPE), SHAPE.width).eval()
    pieces = tokens(15)
    before = model.scores(pieces, real(pieces))
    model.detach_holistic()
    assert torch.equal(model.scores(pieces, real(pieces)), before)
    assert not any(name.startswith("sequence") for name in model.state_dict())
    with pytest.raises(RuntimeError, match="taken off"):
        model(pieces, real(pieces))


def test_the_heads_have_the_published_names() -> None:
    names = set(Monitor(Causal(SHAPE), SHAPE.width).state_dict())
    assert {
        "token_classifier.weight",
        "token_classifier.bias",
        "sequence_classifier.weight",
    } <= names
    assert "sequence_classifier.bias" not in names

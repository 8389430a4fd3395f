"""The monitor's mechanism on a toy tongue: harm begins anywhere, and safe frames use its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from balustrade.guards.delay import Delay
from balustrade.models.causal import Causal, Shape
from balustrade.models.scm import BENIGN, HARMFUL, IGNORED, Monitor
from balustrade.train.scm import (
    Lesson,
    Teaching,
    answer_from,
    padded,
    prefix_scores,
    share,
    teach,
    token_scores,
)
from balustrade.train.stopping import Outcome, choose, outcome

SHAPE = Shape(pieces=60, width=32, layers=1, heads=4, inner=64, span=64)
CALM, BAD, FRAME, STOP, ASKED = range(1, 40), range(40, 50), 50, 51, range(52, 58)


def lessons(seed: int, count: int) -> list[Lesson]:
    """Return answers of ten sentences; a bad word is harmful unless its sentence has a frame."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        bad = number % 2 == 0
        onset = int(rng.integers(0, 9)) if bad else 99
        pieces = rng.choice(ASKED, 3).tolist()
        labels = [IGNORED] * 3
        for sentence in range(10):
            own = rng.choice(CALM, 4).tolist()
            is_framed = sentence < onset and rng.random() < 0.4
            is_harmful = sentence >= onset and (sentence == onset or rng.random() < 0.7)
            if is_harmful or is_framed:
                for place in rng.choice(4, 2, replace=False):
                    own[place] = int(rng.choice(BAD))
            if is_framed:
                own = [FRAME, *own]
            marks = [HARMFUL if is_harmful and piece in BAD else BENIGN for piece in own]
            pieces += [*own, STOP]
            labels += [*marks, BENIGN]
        found.append(Lesson(pieces, labels, bad))
    return found


TRAIN, VALID, TEST = lessons(1, 240), lessons(2, 100), lessons(3, 120)
TAUGHT = Teaching(rate=5e-3, epochs=6, batch=16, seed=0)


def taught(config: Teaching = TAUGHT, seed: int = 0) -> Monitor:
    torch.manual_seed(seed)
    model = Monitor(Causal(SHAPE), SHAPE.width)
    teach(model, TRAIN, config)
    return model


@pytest.fixture(scope="module")
def model() -> Monitor:
    return taught()


@pytest.fixture(scope="module")
def full() -> Monitor:
    """A head that learns from whole answers alone."""
    return taught(Teaching(alpha=0.0, beta=0.0, rate=5e-3, epochs=6, batch=16, seed=0))


def harmful(rows: Sequence[Lesson]) -> NDArray[np.bool_]:
    return np.array([row.harmful for row in rows])


def chosen(valid: list[NDArray[np.float64]], test: list[NDArray[np.float64]]) -> Outcome:
    return outcome(choose(valid, harmful(VALID)).rule, test, harmful(TEST))


def whole(model: Monitor) -> float:
    """Return the macro-F1 of the holistic head on whole answers."""
    last = [np.array([scores[-1]]) for scores in prefix_scores(model, TEST)]
    return outcome(Delay(0.5, 1), last, harmful(TEST)).macro_f1


def test_a_head_for_whole_answers_fails_on_their_beginnings_and_the_token_head_does_not(
    model: Monitor, full: Monitor
) -> None:
    at_once = whole(full)
    naive = outcome(Delay(0.5, 1), prefix_scores(full, TEST), harmful(TEST))
    assert at_once > 0.85
    assert naive.macro_f1 <= at_once - 0.3
    native = chosen(token_scores(model, VALID), token_scores(model, TEST))
    assert native.macro_f1 >= at_once - 0.02
    assert native.false_stops < naive.false_stops
    assert native.seen < 0.8


def test_words_in_a_safe_frame_stop_nobody(model: Monitor) -> None:
    framed = [row for row in TEST if not row.harmful and FRAME in row.pieces]
    scores = token_scores(model, framed)
    said = np.concatenate(
        [
            own[[piece in BAD for piece in row.pieces[answer_from(row) :]]]
            for row, own in zip(framed, scores, strict=True)
        ]
    )
    assert np.mean(said >= 0.5) < 0.1


@pytest.mark.slow
def test_the_logic_loss_makes_both_heads_agree() -> None:
    """Where tokens have few labels, it tells them that a harmful answer has a harmful one."""

    def agrees(beta: float, seed: int) -> float:
        few = [row._replace(labels=_sparse(row, seed)) for row in TRAIN]
        torch.manual_seed(seed)
        model = Monitor(Causal(SHAPE), SHAPE.width)
        teach(model, few, Teaching(0.3, beta, rate=5e-3, epochs=4, batch=16, seed=seed))
        highest = np.array([scores.max() for scores in token_scores(model, TEST)])
        last = np.array([scores[-1] for scores in prefix_scores(model, TEST)])
        return float(np.mean(highest[last >= 0.5] >= 0.5)) if (last >= 0.5).any() else 1.0

    seeds = range(5)
    with_it = np.mean([agrees(1.0, seed) for seed in seeds])
    without = np.mean([agrees(0.0, seed) for seed in seeds])
    assert with_it > 0.9
    assert without < 0.5


def _sparse(row: Lesson, seed: int) -> list[int]:
    """Keep the benign labels, and one harmful one in twenty."""
    rng = np.random.default_rng(seed + len(row.pieces) + sum(row.pieces))
    return [IGNORED if label == HARMFUL and rng.random() < 0.95 else label for label in row.labels]


def test_without_labels_of_tokens_the_token_head_is_worse(model: Monitor) -> None:
    blind = taught(Teaching(alpha=0.0, beta=1.0, rate=5e-3, epochs=6, batch=16, seed=0))
    with_labels = chosen(token_scores(model, VALID), token_scores(model, TEST))
    without = chosen(token_scores(blind, VALID), token_scores(blind, TEST))
    assert without.macro_f1 < with_labels.macro_f1 - 0.05


def test_same_seed_same_weights_and_the_loss_falls() -> None:
    short = Teaching(rate=5e-3, epochs=1, batch=16, seed=3)
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        made = Monitor(Causal(SHAPE), SHAPE.width)
        losses = teach(made, TRAIN, short)
        models.append(made.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_the_papers_schedule_soon_teaches_nothing_and_ours_goes_on() -> None:
    assert share("paper", 100, 4_360) == pytest.approx(0.366, abs=1e-3)
    assert share("paper", 500, 4_360) < 0.007
    assert share("cosine", 500, 4_360) > 0.9
    assert share("cosine", 4_360, 4_360) == pytest.approx(0.0)


def test_the_request_is_never_scored(model: Monitor) -> None:
    [scores] = token_scores(model, TEST[:1])
    assert len(scores) == len(TEST[0].pieces) - 3
    assert answer_from(Lesson([1, 2], [IGNORED, IGNORED], False)) == 2


def test_what_is_too_long_loses_its_end() -> None:
    batch = padded(TEST[:2], 5)
    assert batch.pieces.tolist() == [list(row.pieces[:5]) for row in TEST[:2]]
    assert batch.mask.all()

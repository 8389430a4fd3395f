from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from balustrade.models.encoder import Encoder, Shape, from_bert
from balustrade.train.base import read
from balustrade.train.batching import batches, encoded
from balustrade.train.distil import deviations, distil, loss
from balustrade.train.vocabulary import build, vectors

Tongue = Any


class Both:
    """The base, and the base without half of its layers."""

    def __init__(self, folder: Path, tongue: Tongue) -> None:
        base = read(str(folder))
        self.tokenizer: Tokenizer = build(base, {"en": tongue.words}, 900)
        first = torch.from_numpy(vectors(self.tokenizer, base))
        self.teacher, self.student = (
            Encoder(Shape(len(first), 4, 96, len(kept), 3, 128)) for kept in ((0, 1, 2, 3), (0, 3))
        )
        for model, kept in ((self.teacher, (0, 1, 2, 3)), (self.student, (0, 3))):
            from_bert(model, base.thinned(kept))
            model.piece.weight.data.copy_(first)


@pytest.fixture
def both(base_folder: Path, tongue: Tongue) -> Both:
    return Both(base_folder, tongue)


def test_the_loss_is_the_square_of_what_is_lacking_in_deviations(
    both: Both, tongue: Tongue
) -> None:
    tokens = encoded(both.tokenizer, tongue.sentences(5, Random(1)), 160)
    [batch] = batches(tokens)
    wide = torch.linspace(0.5, 2, 96)
    with torch.no_grad():
        value = float(loss(both.student.eval(), both.teacher.eval(), batch, wide))
        squares = [
            (((one - other) / wide) ** 2).numpy()
            for row in tokens
            for [alone] in [list(batches([row]))]
            for one, other in zip(
                both.student.states(*alone[1:])[0], both.teacher.states(*alone[1:])[0], strict=True
            )
        ]
        assert float(loss(both.teacher, both.teacher, batch, wide)) == 0
    assert value == pytest.approx(float(np.mean(squares)), rel=1e-3)


def test_deviations_are_those_of_all_tokens_but_padding(both: Both, tongue: Tongue) -> None:
    tokens = encoded(both.tokenizer, tongue.sentences(40, Random(1)), 160)
    with torch.no_grad():
        states = torch.cat(
            [
                both.teacher.eval().states(*batch[1:])[0]
                for row in tokens
                for batch in batches([row])
            ]
        )
    assert torch.allclose(deviations(both.teacher, tokens), states.std(dim=0), rtol=1e-3)


def test_fewer_layers_learn_to_say_what_all_of_them_say(both: Both, tongue: Tongue) -> None:
    texts = tongue.sentences(3_000, Random(2))
    [unseen] = batches(encoded(both.tokenizer, tongue.sentences(60, Random(3)), 160))
    wide = deviations(both.teacher, encoded(both.tokenizer, texts[:200], 160))

    def apart() -> float:
        with torch.no_grad():
            return float(loss(both.student.eval(), both.teacher.eval(), unseen, wide))

    teacher = {name: value.clone() for name, value in both.teacher.state_dict().items()}
    before = apart()
    distil(both.student, both.teacher, both.tokenizer, texts, 5e-3)
    assert apart() < 0.5 * before
    assert all(torch.equal(value, teacher[n]) for n, value in both.teacher.state_dict().items())

"""A monitor learns what a guard of whole answers says of growing ones."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from balustrade.backends.onnx import Onnx
from balustrade.data.example import Example, Kind
from balustrade.models.causal import Causal, Shape
from balustrade.models.scm import IGNORED, Monitor, Scores, echoed, loss
from balustrade.shipped import HERE, describe
from balustrade.text.growing import every
from balustrade.train.echo import KINDS, Echo, echoes, shown
from balustrade.train.monitor import Reader
from balustrade.train.scm import Lesson, Teaching, padded, teach, token_scores

TEXT = "Soak the beans overnight, then boil them with bay leaves and salt."


def test_the_loss_is_the_cross_entropy_with_what_was_said() -> None:
    tokens = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    said = torch.tensor([[torch.nan, 0.9, torch.nan], [0.2, torch.nan, torch.nan]])
    chance = (tokens[..., 1] - tokens[..., 0]).sigmoid()[[0, 1], [1, 0]]
    wanted = torch.tensor([0.9, 0.2])
    by_hand = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).mean()
    torch.testing.assert_close(echoed(Scores(tokens, torch.zeros(2, 2)), said), by_hand)
    nothing = torch.full((2, 3), torch.nan)
    assert echoed(Scores(tokens, torch.zeros(2, 2)), nothing).item() == 0.0


def test_what_nobody_has_labelled_teaches_no_other_part() -> None:
    tokens = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.full((2, 3), IGNORED)
    found = loss(Scores(tokens, torch.randn(2, 2)), labels, torch.full((2,), IGNORED))
    assert [part.item() for part in found] == [0.0] * 4


def told(seed: int) -> list[Lesson]:
    """Return texts without labels; a teacher says 0.9 from piece 7 on, 0.1 before."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(120):
        pieces = rng.integers(8, 30, 12).tolist()
        onset = int(rng.integers(1, 24))
        if onset < len(pieces):
            pieces[onset] = 7
        places = sorted(rng.choice(12, 3, replace=False).tolist())
        echo = [(place, 0.9 if 7 in pieces[: place + 1] else 0.1) for place in places]
        found.append(Lesson(pieces, [IGNORED] * 12, None, echo))
    return found


@pytest.mark.parametrize(("gamma", "is_close"), [(1.0, True), (0.0, False)])
def test_it_alone_teaches_what_the_teacher_said(gamma: float, *, is_close: bool) -> None:
    torch.manual_seed(0)
    model = Monitor(Causal(Shape(30, 32, 1, 4, 64, 16)), 32)
    teach(model, told(1), Teaching(gamma=gamma, rate=5e-3, epochs=12, batch=16, seed=0))
    fresh = [Lesson(row.pieces, [0] * 12, None, row.echo) for row in told(2)]
    scores = token_scores(model, fresh)
    errors = [
        abs(said - own[place])
        for own, row in zip(scores, fresh, strict=True)
        for place, said in row.echo
    ]
    assert (np.mean(errors) < 0.1) == is_close


def test_the_encoder_is_asked_about_beginnings_of_texts() -> None:
    encoder = Onnx("encoder")
    [echo] = echoes([("How do I cook beans?", TEXT)], encoder, Random(0))
    ends = [word.end for word in every(TEXT)]
    assert {*echo.said} <= {*ends}
    assert len(echo.said) == 2
    assert ends[-1] in echo.said
    column = describe("encoder").labels.index("response-harm")
    for end, value in echo.said.items():
        [[alone]] = encoder.scores([TEXT[:end]], ["How do I cook beans?"])[:, [column]]
        assert value == pytest.approx(float(alone), abs=1e-3)


def test_what_was_said_stands_at_the_last_piece_of_its_word() -> None:
    reader = Reader(HERE)
    words = every(TEXT)
    lesson = reader.echo(Echo("", TEXT, {words[2].end: 0.25, words[-1].end: 0.75}))
    upto = reader.echo(Echo("", TEXT[: words[2].end], {words[2].end: 0.25}))
    assert lesson.pieces[: len(upto.pieces)] == upto.pieces
    assert [*lesson.echo] == [(len(upto.pieces) - 1, 0.25), (len(lesson.pieces) - 1, 0.75)]
    assert lesson.harmful is None
    assert {*lesson.labels} == {IGNORED}
    said = padded([lesson, upto], 4_096).said
    assert said[0, len(upto.pieces) - 1] == 0.25
    assert (~said.isnan()).sum() == 3


def test_texts_of_all_kinds_are_shown_as_answers() -> None:
    def row(kind: Kind, text: str, response: str = "") -> Example:
        return Example(f"{kind}-{text}", text, "safe", kind, response)

    rows = [row(kind, f"{kind.value} number {n} of them") for n in range(4) for kind in KINDS]
    answers = [row(Kind.RESPONSE, "Tea?", say) for say in ("With milk, and no sugar.", "No.")]
    found = shown(rows, answers, 10, Random(0))
    assert found[0] == ("Tea?", "With milk, and no sugar.")
    assert len(found) == 11
    assert {text.split()[0] for _, text in found[1:]} == {kind.value for kind in KINDS}

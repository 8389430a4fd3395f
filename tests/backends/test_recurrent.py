"""The network that reads answers while they are written, on random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace
from safetensors.numpy import save

from balustrade.backends import cell
from balustrade.backends import recurrent as module
from balustrade.backends.cell import unpack
from balustrade.backends.recurrent import REQUEST, Marks, Recurrent, State, asked
from balustrade.core.call import Advance, Advanced, Classify, Failed, Onward, Reply
from balustrade.core.errors import BackendError
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.models.recurrent import Recurrent as Taught
from balustrade.models.recurrent import packed
from balustrade.models.scm import Monitor
from balustrade.shipped import HERE, Description, Head, Stop, describe

WIDTH, STATES = 12, 16
texts = st.lists(
    st.sampled_from(
        ["how", "to", "make", "Tee", ",", " ", " ", "\n", "爆弾は", "é", "👩‍🚀", "x" * 70]
    ),
    max_size=40,
).map("".join)


def taught() -> Monitor:
    torch.manual_seed(3)
    pieces = torch.randn(64_000, WIDTH)
    model = Monitor(Taught(pieces, STATES), STATES).eval()
    torch.nn.init.normal_(model.token_classifier.weight, std=2.0)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(taught(), tmp_path_factory.mktemp("monitor"))


def written(model: Monitor, made: Path) -> Path:
    arrays, bias = packed(model)
    data = save(arrays)
    known = describe("encoder")
    made.joinpath("monitor.safetensors").write_bytes(data)
    made.joinpath(known.tokenizer).write_bytes((HERE / known.tokenizer).read_bytes())
    description = Description(
        "monitor",
        "monitor.safetensors",
        sha256(data).hexdigest(),
        (Head(RESPONSE_HARM, bias, 1.0, 0.0, 0.5, {"0.01": 0.5}),),
        0.01,
        tokenizer=known.tokenizer,
        tokenizer_sha256=known.tokenizer_sha256,
        begin=known.begin,
        end=known.end,
        stop=Stop(2, 8),
    )
    made.joinpath("monitor.json").write_bytes(json.encode(description))
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> Recurrent:
    return Recurrent("monitor", folder)


def read(engine: Recurrent, request: str, chunks: Sequence[str]) -> list[Any]:
    state: Any = request
    found: list[Any] = []
    for chunk in chunks:
        [one] = engine.read([state], [chunk])
        state = one.state
        found += one.words
    [one] = engine.read([state], [""], ends=True)
    return [*found, *one.words]


def cut(text: str, places: set[int]) -> list[str]:
    return [
        text[a:b] for a, b in pairwise([0, *sorted(p % (len(text) + 1) for p in places), len(text)])
    ]


@settings(deadline=None, max_examples=60)
@given(texts, st.sets(st.integers(0, 400), max_size=12), texts)
def test_chunks_do_not_change_a_score(
    engine: Recurrent, text: str, places: set[int], request_: str
) -> None:
    assert read(engine, request_, cut(text, places)) == read(engine, request_, [text])


@settings(deadline=None, max_examples=30)
@given(texts, texts)
def test_what_follows_changes_no_score_before_it(engine: Recurrent, text: str, more: str) -> None:
    [one] = engine.read(["q"], [text])
    [longer] = engine.read(["q"], [text + more])
    assert longer.words[: len(one.words)] == one.words


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=5))
def test_streams_in_one_batch_read_as_each_alone(
    engine: Recurrent, cases: list[tuple[str, str]]
) -> None:
    together = engine.read([q for q, _ in cases], [t for _, t in cases])
    alone = [engine.read([q], [t])[0] for q, t in cases]
    assert together == alone


def test_a_hundred_streams_read_as_each_alone(engine: Recurrent) -> None:
    chunks = [f"stream {n} goes on " * (n % 7 + 1) for n in range(150)]
    together = engine.read(["q"] * 150, chunks)
    assert together == [engine.read(["q"], [chunk])[0] for chunk in chunks]


def test_numpy_computes_what_was_taught() -> None:
    model = taught()
    known = describe("encoder")
    made = unpack(save(packed(model)[0]))
    numbers = [known.begin, 5, 900, 41_000, known.end, 77, 300, 12_345, 8, 8, 63_999]
    with torch.inference_mode():
        backbone = model.backbone
        assert isinstance(backbone, Taught)
        rows = torch.from_numpy(made.pieces * made.scales)
        backbone.piece.weight.copy_(rows)
        pieces = torch.tensor([numbers])
        expected = model.scores(pieces, torch.ones_like(pieces, dtype=torch.bool))[0].numpy()
    engine = Recurrent()
    engine.__dict__["_weights"] = made
    [trail] = engine._run(np.zeros((1, STATES), np.int16), [numbers])
    logits = np.array(trail) + packed(model)[1]
    assert np.allclose(1 / (1 + np.exp(-logits)), expected, atol=5e-3)


def test_the_request_bears_on_the_answer_and_is_never_scored(engine: Recurrent) -> None:
    [one, other] = engine.read(["How do I bake?", "Insult me"], ["So be it. "] * 2)
    assert [word.score for word in one.words] != [word.score for word in other.words]
    assert [(word.start, word.end) for word in one.words] == [(0, 2), (3, 5), (6, 9)]


def test_of_a_long_request_both_ends_are_read(engine: Recurrent) -> None:
    pieces, marks = engine._pieces, Marks(2, 3)
    filler = "la " * 5_000
    numbers = asked(pieces, f"begin {filler} end", marks)
    assert len(numbers) < REQUEST * 2
    assert numbers[1:2] == pieces.numbers("begin")[:1]
    assert numbers[-2:-1] == pieces.numbers("end")[-1:]


def test_a_step_reads_its_own_pieces_and_no_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Recurrent("monitor", folder)
    read_: list[int] = []
    plain = Recurrent._block

    def counted(self: Recurrent, h: Any, parts: Any) -> Any:
        read_.append(sum(map(len, parts)))
        return plain(self, h, parts)

    monkeypatch.setattr(Recurrent, "_block", counted)
    [one] = engine.read(["q"], [""])
    costs = []
    for _ in range(300):
        read_.clear()
        [one] = engine.read([one.state], ["word "])
        costs.append(sum(read_))
    assert set(costs) == {costs[0]}
    assert len(one.state.memory) == 2 * STATES


def test_a_state_is_a_value(engine: Recurrent) -> None:
    [one] = engine.read(["q"], ["some words "])
    assert isinstance(one.state, State)
    assert engine.read([one.state], ["and more "]) == engine.read([one.state], ["and more "])
    copied = State(bytes(one.state.memory), one.state.open, one.state.start)
    assert engine.read([copied], ["and more "]) == engine.read([one.state], ["and more "])


def test_blanks_without_end_leave_nothing_behind(engine: Recurrent) -> None:
    [one] = engine.read(["q"], ["word" + " " * 100_000])
    assert one.state.open == ""
    assert one.open == one.state.start == 100_004
    [one] = engine.read([one.state], ["next "])
    assert one.words[0].start == 100_004


def test_a_text_of_marks_alone_scores_nothing(engine: Recurrent) -> None:
    [one] = engine.read(["q"], ["\u00ad \u00ad "])
    assert [word.score for word in one.words] == [0.0] * len(one.words) or one.words


def test_long_texts_are_read_block_by_block(engine: Recurrent, monkeypatch: Any) -> None:
    text = "one two three four " * 200
    whole = engine.read(["q"], [text])
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "TOGETHER", 2)
    assert engine.read(["q"], [text]) == whole


def test_what_is_kept_of_pieces_is_what_they_say(
    folder: Path, engine: Recurrent, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("one", "two", "three", "four", "five", "one", "six", "seven", "two", "eight", "nine")
    words = [f"{name} " for name in names]
    expected = read(engine, "q", words)
    monkeypatch.setattr(cell, "KEPT", 8)
    forgetful = Recurrent("monitor", folder)
    assert read(forgetful, "q", words) == expected
    assert forgetful._given._used <= 8


def answer(engine: Recurrent, call: Any) -> Reply:
    [reply] = engine.send((call,))
    return reply


def test_calls_are_answered_alike_in_place_and_in_a_thread(folder: Path) -> None:
    engine = Recurrent("monitor", folder)
    call = Advance("monitor", ("q", "r"), ("a b c " * 900, "d "))
    [reply] = engine.send((call,))
    assert isinstance(reply, Onward)
    assert isinstance(reply.texts[0], Advanced)
    assert asyncio.run(engine.asend((call,))) == [reply]


def test_what_cannot_be_answered_is_a_failure(engine: Recurrent) -> None:
    wrong = answer(engine, Classify("monitor", ("text",)))
    assert wrong == Failed("model 'monitor' reads growing texts, and was asked to classify")
    uneven = answer(engine, Advance("monitor", ("q",), ("a", "b")))
    assert uneven == Failed("1 states were given for 2 chunks")
    strange = answer(engine, Advance("monitor", (State(b"123"),), ("a",)))
    assert strange == Failed("model 'monitor': a state is not one of its own")


@pytest.mark.parametrize(
    "data", [b"", b"\x08\0\0\0\0\0\0\0{}      ", save({"pieces": np.zeros((2, 2), np.int8)})]
)
def test_damaged_weights_are_refused(data: bytes) -> None:
    with pytest.raises(BackendError, match="not a safetensors file with a monitor"):
        unpack(data)


@pytest.mark.parametrize("spread", [0.001, 0.1, 3.0])
def test_sums_over_states_are_whole_in_float32(spread: float) -> None:
    arrays, _ = packed(taught())
    rng = np.random.default_rng(0)
    arrays["outer"] = rng.normal(0.0, spread, (STATES, 3 * STATES)).astype(np.float32)
    outer = unpack(save(arrays)).outer
    states = np.rint(rng.uniform(-1, 1, (300, STATES)) * 1024) / 1024
    states[0], states[1] = 1.0, np.sign(outer[:, 0])
    exact = states @ outer.astype(np.float64)
    assert (states.astype(np.float32) @ outer == exact).all()
    assert np.abs(outer - arrays["outer"]).max() <= max(2**-10, spread / 50)


def test_a_weight_that_is_no_number_is_refused() -> None:
    arrays, _ = packed(taught())
    arrays["outer"][0, 0] = np.nan
    with pytest.raises(BackendError, match="a weight is no number"):
        unpack(save(arrays))


def test_matrices_that_do_not_fit_are_refused() -> None:
    arrays, _ = packed(taught())
    arrays["outer"] = np.zeros((STATES, STATES), np.float32)
    with pytest.raises(BackendError, match="do not fit together"):
        unpack(save(arrays))


def test_other_bytes_than_described_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        tmp_path.joinpath(file.name).write_bytes(file.read_bytes())
    known = describe("monitor", folder)
    tmp_path.joinpath("monitor.json").write_bytes(json.encode(replace(known, sha256="0" * 64)))
    reply = answer(Recurrent("monitor", tmp_path), Advance("monitor", ("q",), ("a ",)))
    assert isinstance(reply, Failed)
    assert "digest" in reply.error

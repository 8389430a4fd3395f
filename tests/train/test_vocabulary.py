from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from balustrade.train.vocabulary import (
    BYTES,
    CLS,
    SEP,
    SPECIAL,
    START,
    UNK,
    Base,
    Size,
    bare,
    build,
    english_pieces,
    renamed,
    vectors,
)

Tongue = Any
Floats = NDArray[np.float32]

LETTERS = bare([*((name, 0.0) for name in SPECIAL), *((byte, -20.0) for byte in BYTES), ("▁a", -1)])


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    tokenizer = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    weights = load_file(base_folder / "model.safetensors")
    return Base(tokenizer, weights["embeddings.word_embeddings.weight"])


@pytest.fixture(scope="module")
def texts(tongue: Tongue) -> list[str]:
    found: list[str] = tongue.sentences(1_500, Random(1))
    return found


@pytest.fixture(scope="module")
def made(base: Base, tongue: Tongue, texts: list[str]) -> Tokenizer:
    others = {"xx": [tongue.abroad(text) for text in texts], "yy": ["ωψ ωφ"] * 40 + ["ϡ"]}
    wanted = [START + word for word in tongue.foreign.values()]
    return build(base.tokenizer, texts, others, wanted, Size(350, 1_000))


def test_the_room_is_kept_and_the_marks_come_first(made: Tokenizer) -> None:
    names = made.get_vocab()
    assert len(names) <= 1_000
    assert [names[name] for name in SPECIAL] == [0, 1, 2, 3, 4]
    assert set(BYTES) <= set(names)


def test_the_same_texts_give_the_same_bytes(
    base: Base, tongue: Tongue, texts: list[str], made: Tokenizer
) -> None:
    others = {"yy": ["ωψ ωφ"] * 40 + ["ϡ"], "xx": [tongue.abroad(text) for text in texts]}
    wanted = [START + word for word in tongue.foreign.values()]
    again = build(base.tokenizer, texts, others, wanted, Size(350, 1_000))
    assert again.to_str() == made.to_str()


def test_only_as_many_english_pieces_are_kept_as_told_the_commonest(
    base: Base, tongue: Tongue
) -> None:
    often, rare = tongue.words[:2]
    found = english_pieces(base.tokenizer, [f"{often} {often} {rare}"], 1)
    assert found == {START + often: math.log(2 / 3)}


def test_a_piece_inside_a_word_and_one_that_begins_it_keep_their_difference() -> None:
    assert renamed("##ing") == "ing"
    assert renamed("how") == START + "how"


def test_wanted_words_and_single_letters_have_pieces_however_rare(
    made: Tokenizer, tongue: Tongue
) -> None:
    names = made.get_vocab()
    assert {START + word for word in tongue.foreign.values()} <= set(names)
    assert "ϡ" in names


@settings(deadline=None)
@given(st.data())
def test_english_is_cut_as_the_base_cuts_it(
    base: Base, made: Tokenizer, tongue: Tongue, data: st.DataObject
) -> None:
    words = data.draw(st.lists(st.sampled_from(tongue.words), min_size=1, max_size=8))
    text = " ".join(words)
    known = base.tokenizer.encode(text, add_special_tokens=False).tokens
    assert made.encode(text, add_special_tokens=False).tokens == [*map(renamed, known)]


def test_a_kept_ending_is_cut_off_as_the_base_cuts_it(base: Base, tongue: Tongue) -> None:
    text = f"{tongue.words[0]}ing {tongue.words[1]}s"
    small = build(base.tokenizer, [text] * 5, {"yy": ["ωψ ωφ"] * 40}, [], Size(50, 600))
    assert small.encode(text, add_special_tokens=False).tokens == [
        START + tongue.words[0], "ing", START + tongue.words[1], "s",
    ]  # fmt: skip


def test_a_wanted_word_is_read_as_its_piece(base: Base) -> None:
    words = sorted(map("".join, product(("жо", "ди", "пу", "ше"), repeat=4)))
    others = {"xx": [" ".join(Random(n).choices(words, k=6)) for n in range(300)]}
    found = build(base.tokenizer, ["a b c"], others, [START + w for w in words], Size(50, 1_000))
    cut = [found.encode(word, add_special_tokens=False).tokens for word in words]
    assert cut == [[START + word] for word in words]


def said(tokenizer: Tokenizer, text: str) -> str:
    """Return a text as the tokenizer reads it, without spaces."""
    folded: str = tokenizer.normalizer.normalize_str(text)
    return "".join(c for c in folded if c != START and not c.isspace())


def spells_no_mark(text: str) -> bool:
    return not any(mark in text for mark in SPECIAL)


letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(spells_no_mark)
scripts = letters | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "你好，世界",
        "สวัสดี",
        "한국어",
        "👩‍👩‍👧 ok",
        "\ufffd",
        "𒀀𒁀",
        "ﷺ",
        "e\u0301\u0327",
    ]
)


@settings(deadline=None, max_examples=300)
@given(scripts)
def test_every_text_is_read_whole_and_can_be_said_again(text: str) -> None:
    ids = LETTERS.encode(text, add_special_tokens=False).ids
    assert UNK not in ids
    again = LETTERS.decode(ids)
    assert "".join(again.split()) == "".join(said(LETTERS, text).split())


@settings(deadline=None, max_examples=200)
@given(scripts)
def test_a_vocabulary_that_was_built_reads_every_text_as_well(made: Tokenizer, text: str) -> None:
    ids = made.encode(text, add_special_tokens=False).ids
    assert UNK not in ids
    assert "".join(made.decode(ids).split()) == "".join(said(made, text).split())


def test_a_text_and_its_answer_stand_between_marks() -> None:
    both = LETTERS.encode("a a", "a")
    assert both.ids == [CLS, both.ids[1], both.ids[1], SEP, both.ids[1], SEP]
    assert both.type_ids == [0, 0, 0, 0, 1, 1]


def test_kept_pieces_have_exactly_the_vectors_of_the_base(
    base: Base, made: Tokenizer, tongue: Tongue, texts: list[str]
) -> None:
    found = vectors(made, base, tongue.pairs(texts))
    names = made.get_vocab()
    kept = 0
    for piece, number in base.tokenizer.get_vocab().items():
        new = names.get(piece if piece in SPECIAL else renamed(piece))
        if new is not None:
            assert found[new].tobytes() == base.vectors[number].tobytes()
            kept += 1
    assert kept > 300


def pieces(tokenizer: Tokenizer, words: Iterable[str]) -> list[int]:
    names = tokenizer.get_vocab()
    return [names[START + word] for word in words]


def cosine(left: Floats, right: Floats) -> Floats:
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    return np.asarray((left * right).sum(axis=-1) / lengths, np.float32)


def test_a_new_piece_is_nearest_to_its_translation(
    base: Base, made: Tokenizer, tongue: Tongue, texts: list[str]
) -> None:
    found = vectors(made, base, tongue.pairs(texts))
    english = found[pieces(made, tongue.words)]
    foreign = found[pieces(made, tongue.foreign.values())]
    near = cosine(foreign[:, None], english[None])
    assert (near.argmax(axis=1) == np.arange(300)).mean() > 0.98
    assert np.diag(near).mean() > 0.8
    assert near[~np.eye(300, dtype=bool)].mean() < 0.2


def means(tokenizer: Tokenizer, table: Floats, texts: Sequence[str]) -> Floats:
    rows = [e.ids for e in tokenizer.encode_batch([*texts], add_special_tokens=False)]
    return np.stack([table[row].mean(axis=0) for row in rows])


def test_without_alignment_a_translated_sentence_is_far_from_its_original(
    base: Base, made: Tokenizer, tongue: Tongue, texts: list[str]
) -> None:
    aligned = vectors(made, base, tongue.pairs(texts))
    lost = vectors(made, base, [])
    chance = lost.copy()
    foreign = pieces(made, tongue.foreign.values())
    draw = np.random.default_rng(0)
    chance[foreign] = draw.permutation(aligned[foreign])
    new = tongue.sentences(200, Random(9))
    english = means(made, aligned, new)
    near = [
        float(cosine(english, means(made, table, [tongue.abroad(t) for t in new])).mean())
        for table in (aligned, lost, chance)
    ]
    assert near[0] > 0.85
    assert near[0] > near[1] + 0.3
    assert near[0] > near[2] + 0.3


def test_a_piece_that_nothing_is_known_of_lies_in_the_middle(
    base: Base, made: Tokenizer, tongue: Tongue, texts: list[str]
) -> None:
    found = vectors(made, base, tongue.pairs(texts))
    assert np.isfinite(found).all()
    omega = found[made.token_to_id("ϡ")]
    byte = found[made.token_to_id("<0xCE>")]
    assert omega.tobytes() == byte.tobytes()
    assert np.linalg.norm(byte) < 0.5 * np.linalg.norm(base.vectors, axis=1).mean()

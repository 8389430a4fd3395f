from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from balustrade.train.base import Base, read
from balustrade.train.vocabulary import (
    BYTES,
    CLS,
    MARKS,
    SEP,
    SPECIAL,
    START,
    UNK,
    bare,
    build,
    readable,
    vectors,
)

Tongue = Any

LETTERS = bare([*((name, 0.0) for name in SPECIAL), *((byte, -20.0) for byte in BYTES), ("▁a", -1)])


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return read(str(base_folder))


@pytest.fixture(scope="module")
def texts(tongue: Tongue) -> dict[str, list[str]]:
    english = tongue.sentences(1_500, Random(1))
    return {"en": english, "xx": [tongue.abroad(text) for text in english[:100]]}


@pytest.fixture(scope="module")
def made(base: Base, texts: dict[str, list[str]]) -> Tokenizer:
    return build(base, texts, 1_000)


def test_the_room_is_kept_and_the_marks_come_first(made: Tokenizer) -> None:
    names = made.get_vocab()
    assert len(names) == 1_000
    assert [names[name] for name in SPECIAL] == [0, 1, 2, 3, 4]
    assert set(BYTES) <= set(names)


def test_the_same_texts_give_the_same_bytes(
    base: Base, texts: dict[str, list[str]], made: Tokenizer
) -> None:
    again = build(base, {"xx": texts["xx"], "en": texts["en"]}, 1_000)
    assert again.to_str() == made.to_str()


def test_what_is_written_in_capitals_is_read_as_what_is_not(base: Base, made: Tokenizer) -> None:
    capital = [piece for piece, _ in base.pieces if piece != piece.lower()]
    assert len(capital) > 300
    assert not {*capital} & made.get_vocab().keys()
    word = next(piece for piece, _ in base.pieces if len(piece) > 5 and piece.startswith(START))
    assert made.encode(word[1:].upper()).ids == made.encode(word[1:]).ids


def test_a_kept_word_is_cut_as_the_base_cuts_it(base: Base, tongue: Tongue) -> None:
    made = build(base, {"en": tongue.words}, 5_000)
    for text in (f"{tongue.words[0]}ing {tongue.words[1]}s", " ".join(tongue.words[:9])):
        tokens = made.encode(text, add_special_tokens=False).tokens
        assert tokens[0] == START + tongue.words[0]
        assert "".join(tokens).replace(START, " ").strip() == text
        assert all(token in dict(base.pieces) for token in tokens)


def test_when_room_is_scarce_what_some_language_uses_most_stays(base: Base, tongue: Tongue) -> None:
    often, rare = tongue.words[:2]
    abroad = tongue.foreign[rare]
    texts = {"en": [often] * 1_000 + [rare], "xx": [abroad] * 5}
    size = len(SPECIAL) + len(BYTES) + 2
    names = build(base, texts, size).get_vocab()
    assert {START + often, START + abroad} <= names.keys()
    assert START + rare not in names


def test_a_mark_of_punctuation_is_as_likely_as_in_its_likelier_form(base: Base) -> None:
    scores, known = readable(base), dict(base.pieces)
    assert scores["▁."] == known["."]
    assert scores["▁?"] == known["?"] > known["▁?"]
    assert scores["▁("] == known["▁("] > known["("]
    assert not {".", "?", "(", "-based", *MARKS.values()} & scores.keys()
    assert START in scores


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


def test_pieces_have_exactly_the_vectors_of_the_base(base: Base, made: Tokenizer) -> None:
    found = vectors(made, base)
    rows = {piece: row for row, (piece, _) in enumerate(base.pieces)}
    names = made.get_vocab()
    kept = 0
    for piece, number in names.items():
        if piece in rows and piece not in {"▁?", "▁("}:
            assert found[number].tobytes() == base.vectors[rows[piece]].tobytes()
            kept += 1
    assert kept > 300
    forms = {"▁.": ".", "▁?": "?", "▁(": "▁(", "[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>"}
    forms |= {"[MASK]": "<unk>", "<0x3C>": "<unk>"}
    for piece, form in forms.items():
        assert found[names[piece]].tobytes() == base.vectors[rows[form]].tobytes(), piece

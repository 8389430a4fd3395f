from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.data.fineharm import FineHarm
from balustrade.models.scm import BENIGN, HARMFUL, IGNORED
from balustrade.train.annotate import Annotator, Answer, Way, is_notional, sentences, words
from balustrade.train.projection import Labelled, project, spans

BAD = ("steal", "hit")


def score(texts: Sequence[str]) -> list[float]:
    """A judge that goes by words: each adds to the score of a text."""
    return [min(0.9, 0.6 * sum(word in text.lower() for word in BAD)) for text in texts]


def labelled(response: str, way: Way = "pos", *, harmful: bool = True) -> FineHarm | None:
    return Annotator(score, 0.5, way).annotate(Answer("1", "How?", response, harmful))


def marked(row: FineHarm | None) -> list[str]:
    assert row is not None
    return [
        word
        for own, labels in zip(row.words, row.word_labels, strict=True)
        for word, label in zip(own, labels, strict=True)
        if label
    ]


TEXT = "Be calm. Then you steal the old car, and don't look back! It's 5 o'clock."


def test_notional_words_of_harmful_sentences_are_harmful_and_no_others() -> None:
    assert marked(labelled(TEXT)) == ["steal", "old", "car", "look", "back"]


def test_the_baselines_mark_what_moves_the_score() -> None:
    assert marked(labelled(TEXT, "delete")) == ["steal"]
    assert marked(labelled(TEXT, "diff")) == ["steal"]
    twice = "You steal and steal it."
    assert marked(labelled(twice, "delete")) == []
    assert marked(labelled(twice, "diff")) == ["steal"]


@pytest.mark.parametrize(
    ("response", "harmful", "kept"),
    [
        (TEXT, True, True),
        (TEXT, False, False),
        ("Be calm. All is well.", True, False),
        ("Be calm. All is well.", False, True),
        ("", False, True),
        ("", True, False),
    ],
)
def test_an_answer_is_kept_only_if_its_sentences_agree_with_it(
    response: str, harmful: bool, kept: bool
) -> None:
    row = labelled(response, harmful=harmful)
    assert (row is not None) == kept
    if row is not None:
        assert row.is_harmful == harmful


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("你好。再见！好吗？", ["你好。", "再见！", "好吗？"]),
        ("a list:\n- one\n- two\n\n", ["a list:", "- one", "- two"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_people_end_them(text: str, found: list[str]) -> None:
    assert sentences(text) == found


@given(st.text(max_size=80))
def test_nothing_but_space_is_lost(text: str) -> None:
    assert "".join("".join(words(s)) for s in sentences(text)) == "".join(text.split())


@pytest.mark.parametrize(
    ("word", "lang", "notional"),
    [
        ("knife", "en", True), ("The", "en", False), ("don't", "en", False), ("!", "en", False),
        ("7", "en", True), ("und", "de", False), ("Messer", "de", True), ("的", "zh", False),
        ("刀", "zh", True), ("нож", "ru", True), ("you’re", "en", False),
    ],
)  # fmt: skip
def test_function_words_are_known_by_language(word: str, lang: str, notional: bool) -> None:
    assert is_notional(word, lang) == notional


RESPONSE = "I'll   hit 你好 👩‍👩‍👧 fast.\n\nBe well."


def test_words_are_found_where_they_stand() -> None:
    row = labelled(RESPONSE)
    assert row is not None
    found = spans(row)
    assert [RESPONSE[w.start : w.end] for w in found] == [w for own in row.words for w in own]
    with pytest.raises(DataError, match="expected the word 'gone'"):
        spans(FineHarm(1, "", "here", "", ("gone",), (0,), (("gone",),), ((0,),)))


def test_a_token_has_the_gravest_label_of_the_words_it_touches() -> None:
    text = [Labelled(0, 4, BENIGN), Labelled(5, 8, HARMFUL), Labelled(8, 9, BENIGN)]
    offsets = [(0, 0), (0, 2), (2, 4), (4, 5), (4, 8), (7, 9), (8, 9), (9, 12)]
    assert project(text, offsets) == [
        IGNORED, BENIGN, BENIGN, IGNORED, HARMFUL, HARMFUL, BENIGN, IGNORED,
    ]  # fmt: skip
    with pytest.raises(DataError, match="overlap at 3"):
        project([Labelled(0, 4, 0), Labelled(3, 5, 0)], [])


@given(st.data())
def test_labels_survive_the_way_to_tokens_and_back(data: st.DataObject) -> None:
    row = labelled(RESPONSE)
    assert row is not None
    known = spans(row)
    cuts = sorted({0, len(RESPONSE), *data.draw(st.lists(st.integers(1, len(RESPONSE))))})
    offsets = list(pairwise(cuts))
    labels = project(known, offsets)
    assert len(labels) == len(offsets)
    for word in known:
        touched = [
            label
            for label, (start, end) in zip(labels, offsets, strict=True)
            if start < word.end and word.start < end
        ]
        assert touched
        assert IGNORED not in touched
        if word.label == HARMFUL:
            assert set(touched) == {HARMFUL}
    for label, (start, end) in zip(labels, offsets, strict=True):
        near = [w.label for w in known if start < w.end and w.start < end]
        assert label == (IGNORED if not near else max(near))


def test_characters_cut_into_bytes_keep_one_label() -> None:
    """A byte-level tokenizer gives each byte of a character the character's own place."""
    assert project([Labelled(0, 1, HARMFUL)], [(0, 1), (0, 1), (0, 1)]) == [HARMFUL] * 3

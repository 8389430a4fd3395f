from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.train.augment import Augment, disguised, latin, lexicon, switched
from balustrade.train.parallel import Pair

WORDS = {"steal": ["stehlen"], "car": ["Auto", "Wagen"], "house": ["Haus"]}
FILLER = [Pair(f"word{'abcdefghij'[n % 10]}{'xyz' * (n // 10)}", f"w{n}", "de") for n in range(201)]

texts = st.text(max_size=60) | st.sampled_from(
    ["How do I steal a car?", "Houses, cars; stealing!", "don't  touch\nmy car", "犬 car"]
)
seeds = st.integers(0, 2**32)


def test_the_lexicon_drops_the_to_of_a_verb_and_marks_at_the_ends() -> None:
    found = lexicon([Pair("To steal", "stehlen", "de"), Pair("Car.", "Auto。", "de"), *FILLER])
    assert found["de"]["steal"] == ["stehlen"]
    assert found["de"]["car"] == ["Auto"]
    assert "to steal" not in found["de"]


def test_only_single_words_with_short_translations_are_listed() -> None:
    long = Pair("verb", "ein Wort, das sagt, was jemand oder etwas tut", "de")
    found = lexicon([Pair("a car", "ein Auto", "de"), long, *FILLER])
    assert not {"a car", "verb"} & set(found["de"])


def test_a_language_with_few_words_has_no_lexicon() -> None:
    assert lexicon(FILLER[:200]) == {}
    assert set(lexicon(FILLER)) == {"de"}


def test_a_word_of_several_translations_has_them_all() -> None:
    found = lexicon([Pair("car", "Auto", "de"), Pair("car", "Wagen", "de"), *FILLER])
    assert found["de"]["car"] == ["Auto", "Wagen"]


@given(texts, seeds)
def test_a_share_of_nothing_changes_nothing(text: str, seed: int) -> None:
    assert switched(text, WORDS, 0.0, Random(seed)) == text


@given(texts, seeds)
def test_without_words_nothing_is_switched(text: str, seed: int) -> None:
    assert switched(text, {}, 1.0, Random(seed)) == text


def test_all_known_words_are_switched_and_nothing_else() -> None:
    said = switched("How do I STEAL a house, 2 m from me?", WORDS, 1.0, Random(0))
    assert said == "How do I stehlen a Haus, 2 m from me?"


@pytest.mark.parametrize("word", ["houses", "House", "housed", "housing"])
def test_a_form_of_a_known_word_is_switched_where_its_stem_is_whole(word: str) -> None:
    assert switched(word, WORDS, 1.0, Random(0)) == ("housing" if word == "housing" else "Haus")


def test_the_share_is_kept_on_average() -> None:
    said = switched("steal " * 4_000, WORDS, 0.3, Random(1))
    assert said.count("stehlen") == pytest.approx(1_200, abs=120)


@pytest.mark.parametrize("text", ["Привет, как дела?", "안녕하세요 세계", "नमस्ते दुनिया", "مرحبا"])
def test_other_scripts_become_latin_letters(text: str) -> None:
    said = latin(text)
    assert said.isascii()
    assert any(c.isalpha() for c in said)


@given(st.text(st.characters(max_codepoint=127)))
def test_latin_letters_stay(text: str) -> None:
    assert latin(text) == text


def test_romanised_russian_reads_as_people_write_it() -> None:
    assert latin("Привет") == "Privet"


@given(texts, seeds)
def test_a_disguise_repeats_itself(text: str, seed: int) -> None:
    assert disguised(text, Random(seed)) == disguised(text, Random(seed))


def test_disguises_leave_most_words_as_they_are() -> None:
    text = "please tell me something about gardens full of roses"
    ways = {disguised(text, Random(seed)) for seed in range(200)}
    assert text.upper() in ways
    assert any("pl3453" in way for way in ways)
    others = [way for way in ways if way != text.upper() and "3" not in way]
    assert len(others) > 20
    for way in others:
        assert sum(word in way.split() for word in text.split()) >= 5


@given(st.lists(texts, min_size=1, max_size=2), st.sampled_from(["en", "ru", "th", ""]), seeds)
def test_same_seed_same_words(batch: list[str], lang: str, seed: int) -> None:
    said = [Augment({"de": WORDS}, Random(seed))(batch, lang) for _ in range(2)]
    assert said[0] == said[1]
    assert len(said[0]) == len(batch)


@given(texts, st.sampled_from(["en", "ru"]), seeds)
def test_with_all_shares_at_zero_a_text_stays(text: str, lang: str, seed: int) -> None:
    say = Augment({"de": WORDS}, Random(seed), switch=0.0, romanise=0.0, disguise=0.0)
    assert say([text], lang) == [text]


def share_changed(say: Augment, text: str, lang: str) -> float:
    return sum(say([text], lang) != [text] for _ in range(2_000)) / 2_000


def test_each_change_comes_as_often_as_told() -> None:
    english, russian = "steal steal steal steal steal steal", "украсть машину"
    say = Augment({"de": WORDS}, Random(3), switch=0.5, romanise=0.2, disguise=0.0)
    assert share_changed(say, english, "en") == pytest.approx(0.47, abs=0.05)
    assert share_changed(say, russian, "ru") == pytest.approx(0.2, abs=0.03)
    assert share_changed(say, "ขโมยรถ", "th") == 0.0


def test_only_english_is_switched() -> None:
    say = Augment({"de": WORDS}, Random(0), switch=1.0, romanise=0.0, disguise=0.0)
    assert say(["steal a car"] * 2, "nl") == ["steal a car"] * 2


def test_a_request_and_its_answer_are_said_in_one_language() -> None:
    words = {"de": {"car": ["Auto"]}, "fr": {"car": ["voiture"]}}
    say = Augment(words, Random(0), switch=1.0, disguise=0.0)
    for _ in range(50):
        foreign = {w for text in say(["car " * 20] * 2, "en") for w in text.split()} - {"car"}
        assert len(foreign) == 1


def test_nothing_said_stays_nothing() -> None:
    say = Augment({}, Random(0), disguise=1.0)
    assert say(["", ""], "ru") == ["", ""]

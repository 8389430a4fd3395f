from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balustrade.text.growing import DENSE, LONGEST, Word, last, whole

alphabet = st.sampled_from(
    [*"ab .,\n'", "é", "你", "好", "。", "ไ", "👩‍🚀", "\u0301", "\u3000", "x" * 40]
)
texts = st.lists(alphabet, max_size=60).map("".join)


def words(text: str) -> list[str]:
    return [word.text for word in whole(text)]


def test_a_word_is_whole_once_something_follows() -> None:
    assert words("Hello wor") == ["Hello"]
    assert words("Hello wor ") == ["Hello", "wor"]
    assert words("Hello, you!\n") == ["Hello,", "you!"]


def test_scripts_without_gaps_are_cut_by_length() -> None:
    assert words("你" * (DENSE + 1)) == ["你" * DENSE]
    assert words("ok你好 ") == ["ok", "你好"]


def test_what_has_no_gap_ends_somewhere() -> None:
    assert words("a" * (2 * LONGEST + 1)) == ["a" * LONGEST] * 2
    assert words("a" * (LONGEST - 1)) == []


def test_what_stands_open_is_a_word_at_the_end() -> None:
    assert last("Hello wor", 5) == [Word(6, 9, "wor")]
    assert last("Hello  ", 5) == []


@given(texts, texts)
def test_more_text_leaves_whole_words_as_they_are(text: str, more: str) -> None:
    before = whole(text)
    assert whole(text + more)[: len(before)] == before


@given(texts, texts)
def test_what_follows_a_whole_word_is_cut_as_if_it_stood_alone(text: str, more: str) -> None:
    before = whole(text)
    cut = before[-1].end if before else 0
    rest = (text + more)[cut:]
    moved = [Word(word.start + cut, word.end + cut, word.text) for word in whole(rest)]
    assert whole(text + more) == before + moved


@given(texts)
def test_every_letter_is_in_one_word(text: str) -> None:
    found = whole(text)
    found += last(text, found[-1].end if found else 0)
    assert "".join(word.text for word in found) == "".join(text.split())
    assert all(text[word.start : word.end] == word.text for word in found)
    assert all(len(word.text) <= LONGEST for word in found)

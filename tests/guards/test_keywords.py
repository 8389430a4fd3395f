from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.content import Content
from balustrade.core.errors import PatternError
from balustrade.flow.run import run
from balustrade.guards.keywords import Keywords


def found(text: str, *words: str, **options: bool) -> list[str]:
    guard = Keywords(words=words, **options)  # type: ignore[arg-type]  # only `normalise` is given
    [verdict] = run(guard.check([Content.of(text)]), local.send)
    spans = [finding.span for finding in verdict.findings]
    return [text[span.start : span.end] for span in spans if span is not None]


def test_whole_words_match_without_regard_to_case() -> None:
    assert found("Password: a PASSWORD, passwords", "password") == ["Password", "PASSWORD"]


def test_neighbours_that_share_a_space_are_both_found() -> None:
    assert found("red red blue", "red", "blue") == ["red", "red", "blue"]


def test_the_longest_match_wins_and_a_shorter_one_stands_in_where_it_fails() -> None:
    assert found("a red car, red cars", "red", "red car") == ["red car", "red"]


def test_words_of_scripts_without_spaces_match_inside_running_text() -> None:
    assert found("我的密码是什么", "密码") == ["密码"]
    assert found("รหัสผ่านของฉัน", "รหัสผ่าน") == ["รหัสผ่าน"]
    assert found("비밀번호를 알려줘", "비밀번호") == ["비밀번호"]


def test_accented_words_have_edges_too() -> None:
    assert found("un café, des cafés", "café") == ["café"]


def test_disguised_letters_match_where_they_stand() -> None:
    assert found("my p\u200bass\u200bword", "password") == ["p\u200bass\u200bword"]
    assert found("my ｐａｓｓｗｏｒｄ!", "password") == ["ｐａｓｓｗｏｒｄ"]
    assert found("my p\u200bassword", "password", normalise=False) == []


def test_characters_that_mean_something_to_patterns_are_taken_as_they_are() -> None:
    assert found("use c++ or (x|y)*", "c++", "(x|y)*") == ["c++", "(x|y)*"]


def test_a_keyword_of_nothing_is_refused() -> None:
    with pytest.raises(PatternError, match="holds nothing to look for"):
        Keywords(words=("\u200b",))


def test_ten_thousand_words_are_one_pass() -> None:
    listed = [f"word{number}" for number in range(10_000)]
    assert found("here is word77, there word7777 and word77777", *listed) == ["word77", "word7777"]


@given(st.text("ab .é密\u200b", max_size=30), st.text("ab .é密\u200b", max_size=10))
def test_what_is_settled_in_a_stream_stays_settled(text: str, more: str) -> None:
    guard = Keywords(words=("ab", "a b", "é", "密b"))
    place = guard.open_at(text)
    assert 0 <= place <= len(text)

    def spans(source: str) -> list[tuple[int, int]]:
        [verdict] = run(guard.check([Content.of(source)]), local.send)
        return [(f.span.start, f.span.end) for f in verdict.findings if f.span is not None]

    settled = [span for span in spans(text) if span[1] <= place]
    assert [span for span in spans(text + more) if span[0] < place] == settled

from __future__ import annotations

import pytest
from hypothesis import given, settings
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


@pytest.mark.parametrize(
    ("text", "place", "note"),
    [
        ("please p4ssw0rd now", "p4ssw0rd", "read through leetspeak"),
        ("the p a s s w o r d please", "p a s s w o r d", "read through letters set apart"),
        ("the p.a.s.s.w.o.r.d please", "p.a.s.s.w.o.r.d", "read through letters set apart"),
        ("decode cGFzc3dvcmQ= please", "cGFzc3dvcmQ=", "read through base64"),
        ("run 0x70617373776f7264 please", "0x70617373776f7264", "read through hexadecimal"),
        ("run %70%61%73%73word please", "%70%61%73%73word", "read through URL encoding"),
        ("a password", "password", ""),
    ],
)
def test_encoded_and_spaced_words_match_where_they_stand(text: str, place: str, note: str) -> None:
    [verdict] = run(Keywords(words=("password",)).check([Content.of(text)]), local.send)
    [finding] = verdict.findings
    assert finding.span is not None
    assert text[finding.span.start : finding.span.end] == place
    assert finding.note == note
    assert found(text, "password", normalise=False) == ([place] if not note else [])


def test_a_word_beside_a_disguise_is_reported_once() -> None:
    assert found("password cGFzc3dvcmQ= k1ll", "password") == ["password", "cGFzc3dvcmQ="]


def test_a_text_that_is_too_long_fails_alone() -> None:
    batch = [Content.of("a" * 4_000_001), Content.of("red")]
    refused, judged = run(Keywords(words=("red",)).check(batch), local.send)
    assert "at most 4,000,000 characters" in refused.error
    assert len(judged.findings) == 1


PIECES = """
kill k1ll k i l l k.i.l.l k i l . - it ab following ki\u200bll ｋ１ｌｌ 密 Xkill 1 6c %6b
a2lsbCBpdA== a2ls aWdub3Jl cGxlYXNlIGtpbGwgaXQgbm93 6b696c6c206974 %6b%69%6c%6c \\x6b\\x69
"""
disguises = st.lists(
    st.sampled_from([*PIECES.split(), "k i l l", "6b 69 6c 6c 20 69 74", "kill it", "\n", *"    "]),
    max_size=9,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(disguises, disguises)
def test_what_is_settled_stays_settled_in_disguise_too(text: str, more: str) -> None:
    guard = Keywords(words=("kill", "kill it", "it", "密"))
    place = guard.open_at(text)
    assert 0 <= place <= len(text)
    settled = [span for span in places(guard, text) if span[1] <= place]
    crossing = [span for span in places(guard, text) if span[0] < place < span[1]]
    before = [span for span in places(guard, text + more) if span[0] < place]
    assert [span for span in before if span not in crossing] == settled


def places(guard: Keywords, text: str) -> list[tuple[int, int]]:
    [verdict] = run(guard.check([Content.of(text)]), local.send)
    return sorted((f.span.start, f.span.end) for f in verdict.findings if f.span is not None)

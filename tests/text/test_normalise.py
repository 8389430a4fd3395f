from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.text.normalise import normalise

SAMPLES = (
    "plain ascii text, 12 items",
    "ｋｉｌｌ ｔｈｅ ｐｒｏｃｅｓｓ",
    "𝓴𝓲𝓵𝓵 𝕜𝕚𝕝𝕝 🅺🅸🅻🅻 ⓚⓘⓛⓛ",
    "z\u200be\u200dr\u2060o w\u202eidth",
    "pаssword раssword",
    "k\u0336i\u0336l\u0336l\u0336",
    "e\u0301\u0301\u0301\u0301\u0301\u0301\u0301",
    "ｶﾞｷﾞ ﬁne ﷺ",
    "नमस्ते दुनिया",
    "ภาษาไทยไม่มีปัญหา",
    "한국어 문장입니다",
    "中文，没有问题！",
)
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(SAMPLES), max_size=3).map("".join),
    st.text("ae\u0301\u0336\u200bаеⅸﬁｶﾞ\u09c7\u09be\u0b47\u0300 \u1100\u1161\u11a8", max_size=20),
)


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("ｋｉｌｌ", "kill"),
        ("𝓴𝓲𝓵𝓵", "kill"),
        ("🅺🅸🅻🅻", "KILL"),
        ("ᴋɪʟʟ", "KILL"),
        ("k\u200bi\u200dl\u2060l", "kill"),
        ("\u202ekill\u202c", "kill"),
        ("k\u0336i\u0336l\u0336l\u0336", "kill"),
        ("ki\x00ll", "kill"),
        ("ki\U000e0041ll", "kill"),
        ("my pаsswоrd", "my password"),
        ("say τοxic", "say toxic"),
        ("my рассоrd", "my paccord"),
        ("how to соре with it", "how to cope with it"),
        ("ﬁre", "fire"),
    ],
)
def test_a_disguised_text_reads_as_what_it_is_taken_for(disguised: str, plain: str) -> None:
    assert normalise(disguised).text == plain


@pytest.mark.parametrize(
    "text",
    [
        "пароль и оса рядом с password",
        "Слово «сор» рядом с word",
        "το σπίτι και the house",
        "ΔT and α-helix, µ",
        "naïve café, Übergröße, kırmızı, Việt Nam",
        "नमस्ते दुनिया",
        "ภาษาไทยไม่มีปัญหา",
        "한국어 문장입니다",
        "中文没有问题。",
        "שָׁלוֹם and مَرْحَبًا",
        "line\n\ttab\r\n",
    ],
)
def test_an_honest_text_is_left_as_it_is(text: str) -> None:
    import unicodedata

    assert normalise(text).text == unicodedata.normalize("NFKC", text)


def test_a_native_word_with_a_latin_letter_becomes_native_again() -> None:
    assert normalise("убийcтво").text == "убийство"


def test_a_stack_of_marks_is_cut_and_the_letter_stays() -> None:
    assert len(normalise("\u05d0" + "\u0591" * 100_000).text) == 5


def test_spans_lead_back_to_what_stood_there() -> None:
    text = "say k\u200bi\u200bll ﬁrst ｎｏｗ"
    folded = normalise(text)
    at = folded.text.index("kill")
    assert text[slice(*folded.original(at, at + 4))] == "k\u200bi\u200bll"
    at = folded.text.index("first")
    assert text[slice(*folded.original(at, at + 1))] == "ﬁ"
    at = folded.text.index("now")
    assert text[slice(*folded.original(at + 1, at + 3))] == "ｏｗ"


@given(texts)
def test_folding_twice_is_folding_once(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once


@given(texts)
def test_spans_stay_inside_the_original_and_in_order(text: str) -> None:
    folded = normalise(text)
    spans = [folded.original(n, n + 1) for n in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    if folded.text:
        assert folded.original(0, len(folded.text)) == (spans[0][0], spans[-1][1])


@given(texts)
def test_a_span_reads_as_the_folded_span_does(text: str) -> None:
    folded = normalise(text)
    for n in range(len(folded.text)):
        start, end = folded.original(n, n + 1)
        assert folded.text[n] in normalise(text).text
        assert len(text[start:end]) >= 1


@given(st.text(st.characters(max_codepoint=126, exclude_categories=["Cc"]), max_size=80))
def test_plain_ascii_comes_back_as_the_same_object(text: str) -> None:
    assert normalise(text).text is text


@pytest.mark.parametrize("tail", ["ж", " ж раssword"])
def test_r10_a_long_latin_word_beside_another_script_is_read_in_linear_time(tail: str) -> None:
    text = "a" * 1_000_000 + tail
    assert normalise(text).text.startswith("a" * 1_000_000)

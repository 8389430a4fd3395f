from __future__ import annotations

import math
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from balustrade.backends import pieces
from balustrade.backends.pieces import Pieces
from balustrade.train import vocabulary

SAMPLES = (
    "How do I bake bread, and isn't it 3.14? don't_stop... A+B=C <b>x</b> `ls | wc` $5 ~ ^",
    "ΟΔΥΣΣΕΥΣ ήταν ΣΟΦΟΣ; İstanbul'da ﬁnd ＢＯＭＢ ½ ① ㎏",
    "今天晚上吃什么好？ 「はい」、カタカナ。 한국어 문장입니다.",
    "नमस्ते दुनिया। สวัสดีชาวโลก مرحبا بالعالم؟ שלום Привет, мир!",
    "tab\tnew\nline\u2028sep\xa0nbsp\u3000wide\u200bzero\u00adsoft ▁start ▁ x▁y",
    "🙂👩‍👩‍👧 \U0001f1e9\U0001f1ea e\u0301 \x00\x1f\x85 \x7f",
)
ALPHABET = sorted({letter for sample in SAMPLES for letter in sample})
texts = st.text(ALPHABET, max_size=80) | st.text(st.characters(max_codepoint=0x2FF), max_size=40)


def tokenizer() -> Tokenizer:
    """Return a vocabulary of many overlapping pieces, so that cutting is a choice."""
    rng = Random(7)
    words = {vocabulary.START + word for sample in SAMPLES for word in sample.lower().split()}
    parts = {w[a : a + n] for w in words for a in range(len(w)) for n in (1, 2, 3, 5)} | words
    known = sorted(part for part in parts if part not in "ο한🙂x")
    found = [(name, 0.0) for name in vocabulary.SPECIAL]
    found += [(name, -25.0) for name in vocabulary.BYTES]
    found += [(part, math.log(rng.random()) * len(part) ** 0.5 - 3) for part in known]
    made = vocabulary.bare(found)
    made.encode_special_tokens = True
    return made


THEIRS = tokenizer()
OURS = Pieces(THEIRS.to_str().encode())


def expected(text: str) -> list[int]:
    return list(THEIRS.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("text", SAMPLES)
def test_samples_are_cut_as_the_library_cuts_them(text: str) -> None:
    assert OURS.numbers(text) == expected(text)


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_text_is_cut_as_the_library_cuts_it(text: str) -> None:
    assert OURS.numbers(text) == expected(text)
    assert OURS.numbers(text) == OURS.numbers(text)


def test_what_no_piece_holds_becomes_its_bytes() -> None:
    found = OURS.numbers("𝕏 \N{OLD PERSIAN SIGN A}")
    names = [THEIRS.id_to_token(number) for number in found]
    spelt = [f"<0x{byte:02X}>" for byte in "\N{OLD PERSIAN SIGN A}".encode()]
    assert names[-4:] == spelt
    [*_, half] = OURS.numbers("\ud800")
    assert THEIRS.id_to_token(half) == f"<0x{ord('?'):02X}>"


@pytest.mark.parametrize("mark", vocabulary.SPECIAL)
def test_a_mark_written_in_a_text_is_text(mark: str) -> None:
    found = OURS.numbers(f"how {mark} do")
    assert not set(found) & set(range(len(vocabulary.SPECIAL)))


def test_more_words_than_are_kept_change_nothing() -> None:
    model = Pieces(THEIRS.to_str().encode())
    first = model.numbers("how do i bake bread")
    for number in islice(range(10**6), pieces.REMEMBERED + 10):
        model.numbers(str(number))
    assert model.numbers("how do i bake bread") == first

"""Words read one by one by tokenizers of each make."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends.tokens import Tokens
from balustrade.text.growing import last, whole

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

PROSE = "How do I make tea, and who may drink it? Not you: it's mine. 12 cups — naïve, é."


def words(text: str) -> list[str]:
    """Return each word with the gap before it."""
    found = whole(text)
    found += last(text, found[-1].end if found else 0)
    firsts = [0, *(word.end for word in found)]
    return [text[first : word.end] for first, word in zip(firsts, found, strict=False)]


def bytes_of_gpt() -> Any:
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([PROSE] * 9, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw)


def pieces_of_llama() -> Any:
    """Return one that begins every text with a blank of its own."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    marks = ["<unk>", "<s>", *(f"<0x{n:02X}>" for n in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=310, special_tokens=marks, show_progress=False
    )
    raw.train_from_iterator([PROSE.replace("\n", "")] * 9, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>")


KINDS = [bytes_of_gpt(), pieces_of_llama()]
both = pytest.mark.parametrize("raw", KINDS, ids=["bytes", "pieces"])


@both
def test_a_text_read_word_by_word_has_the_tokens_of_the_whole(raw: Any) -> None:
    text = f"tea {PROSE}"
    _, *rest = Tokens(raw).words(words(text))
    found = [number for ids in rest for number in ids]
    assert found == raw(text, add_special_tokens=False).input_ids[-len(found) :]
    assert len(found) > len(rest)


def test_a_word_gets_no_blank_that_is_not_there() -> None:
    raw = pieces_of_llama()
    [[tea], *_] = [Tokens(raw).words([" tea"])]
    assert raw.convert_ids_to_tokens(tea)[0].startswith("▁")
    [[cut]] = [Tokens(raw).words(["tea"])]
    assert not raw.convert_ids_to_tokens(cut)[0].startswith("▁")


@both
@given(
    st.lists(
        st.sampled_from(["tea", "cup", " ", "  ", "\n", "爆弾", "👩‍🚀", ".", "é", "\ud83d"])
    ).map("".join)
)
def test_words_together_have_the_tokens_they_have_alone(raw: Any, text: str) -> None:
    tokens = Tokens(raw)
    parts = words(text)
    assert tokens.words(parts) == [tokens.words([part])[0] for part in parts]


@both
def test_a_token_knows_where_in_its_word_it_stands(raw: Any) -> None:
    for word in words(PROSE):
        placed = Tokens(raw).placed(word)
        assert [each.number for each in placed] == Tokens(raw).words([word])[0]
        assert placed[-1].end == len(word)
        assert all(one.end >= two.start for one, two in pairwise(placed))


def test_marks_are_letters() -> None:
    raw = bytes_of_gpt()
    mark = raw.convert_tokens_to_ids("<|im_end|>")
    tokens = Tokens(raw)
    assert mark not in tokens.words([" <|im_end|>"])[0]
    assert mark not in tokens.request("<|im_end|>")


def test_a_request_is_followed_by_two_line_breaks() -> None:
    for raw in KINDS:
        ids = Tokens(raw).request("who may")
        begin = [] if raw.bos_token_id is None else [raw.bos_token_id]
        assert ids == [*begin, *raw("who may\n\n", add_special_tokens=False).input_ids]

"""A text is cut into words, and into short runs where its script writes no spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.text.segment import LONGEST, units


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in units(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't kill, please! (now)", ["Don't", "kill", "please", "now"]),
        ("a -> b ... c", ["a", "->", "b", "...", "c"]),
        ("snake_case e-mail x.y", ["snake", "case", "e", "mail", "x", "y"]),
        ("ich weiß: dünn", ["ich", "weiß", "dünn"]),
        ("मुझे बताओ।", ["मुझे", "बताओ"]),
        ("كيف أسرق؟", ["كيف", "أسرق"]),
        ("이웃의 돈을", ["이웃의", "돈을"]),
        ("我想知道怎么，好", ["我想", "知道", "怎么", "好"]),
        ("作る方法をテスト", ["作", "る", "方法", "を", "テスト"]),
        ("ที่บ้าน", ["ที่บ้า", "น"]),
        ("GPT模型v2", ["GPT", "模型", "v2"]),
        (" *** ", ["***"]),
        (" ?!", ["?!"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_units_are_words_or_short_runs(text: str, found: list[str]) -> None:
    assert cut(text) == found


@given(st.text())
def test_units_are_in_order_apart_and_bounded(text: str) -> None:
    found = units(text)
    edges = [edge for span in found for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert bool(found) == bool(text.strip())
    if len(found) > 1:
        assert all(end - start <= 2 * LONGEST + 1 for start, end in found)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_every_letter_is_in_a_unit(text: str) -> None:
    assert "".join(cut(text)) == text

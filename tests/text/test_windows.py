from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.text.windows import windows

texts = st.text("ab c\n", max_size=300)
sizes = st.integers(1, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 2)))


@given(texts, sizes)
def test_windows_cover_every_character_and_share_the_overlap(
    text: str, sizes: tuple[int, int]
) -> None:
    size, overlap = sizes
    spans = windows(text, size, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(end - start <= size for start, end in spans)
    for (start, end), (following, _) in itertools.pairwise(spans):
        assert start < following <= max(end - overlap, start + 1)


def test_a_short_text_is_one_window() -> None:
    assert windows("short", 10, 2) == [(0, 5)]
    assert windows("", 10, 2) == [(0, 0)]


def test_words_stay_whole_where_there_is_white_space() -> None:
    text = "word " * 40
    for start, end in windows(text, 50, 10):
        assert text[start:end].startswith("word")
        assert text[start:end].endswith("word ")


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap <= size / 2"):
        windows("text", 10, 6)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balustrade.text.overlap import Overlap

SAID = "The moon pulls the sea. It does so twice a day."


def new(said: str, *chunks: str, is_spaced: bool = True) -> str:
    overlap = Overlap(said, is_spaced=is_spaced)
    return "".join(map(overlap.feed, chunks)) + overlap.finish()


def test_what_is_repeated_is_stripped_and_what_is_new_is_kept() -> None:
    assert new(SAID, SAID + " And so on.") == "And so on."
    assert new(SAID, "It does so twice a day. And so on.") == "And so on."
    assert (
        new(SAID, "The  moon\npulls", " the sea. It does so twice a day.\n\nMore.") == "\n\nMore."
    )
    assert new(SAID, "And so on.") == "And so on."
    assert new(SAID, " And so on.", is_spaced=False) == " And so on."
    assert new(SAID, "The moon pulls back.") == "The moon pulls back."
    assert new(SAID, "The moon") == "The moon"
    assert new("Yes. No.", "No. Never.") == "No. Never."
    assert new("潮汐。", "潮汐。月亮。", is_spaced=False) == "月亮。"
    assert new("", " As it is.", is_spaced=False) == " As it is."


@given(st.text("ab. ", max_size=30), st.text("ab. ", max_size=40), st.lists(st.integers(0, 40)))
def test_chunks_make_no_difference(said: str, text: str, cuts: list[int]) -> None:
    ends = sorted({*(cut for cut in cuts if cut < len(text)), len(text)})
    chunks = [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert new(said, *chunks) == new(said, *text)

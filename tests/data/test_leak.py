from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balustrade.data.example import Example, Kind
from balustrade.data.leak import leaks
from balustrade.data.split import plain, share_of

POEM = (
    "the quick brown fox jumps over the lazy dog while seven small wizards of the northern "
    "valley boxed up five dozen jugs of honey for the harvest feast"
)


def row(name: str, text: str, response: str = "") -> Example:
    return Example(name, text, "safe", Kind.RESPONSE if response else Kind.BENIGN, response)


def kinds(train: Example, test: Example) -> list[str]:
    others = [row(f"o{n}", f"text number {n} about gardens and rivers " * 3) for n in range(50)]
    found = leaks([*others[:25], train], [*others[25:], test])
    return [leak.how for leak in found if (leak.train, leak.test) == (train.id, test.id)]


def test_a_copy_in_other_dress_is_found() -> None:
    assert kinds(row("a", POEM), row("b", f"  {POEM.upper()}!! ")) == ["equal"]


def test_a_text_inside_another_is_found_both_ways() -> None:
    longer = f"once upon a time there was a line: {POEM}; and then it ended. " + "so it goes " * 60
    assert kinds(row("a", longer), row("b", POEM)) == ["contains a test text"]
    assert kinds(row("a", POEM), row("b", longer)) == ["is contained in a test text"]


def test_an_injected_near_copy_is_found() -> None:
    near = POEM.replace("seven", "eight").replace("honey", "syrup")
    assert kinds(row("a", near), row("b", POEM)) == ["nearly the same"]


def test_an_answer_is_compared_together_with_its_request() -> None:
    asked = row("a", "what is it?", POEM)
    assert kinds(asked, row("b", "what is it?", POEM + "!")) == ["equal", "equal"]
    assert kinds(asked, row("b", "what is it?", "no idea")) == ["equal"]
    assert kinds(asked, row("b", "who are you, and why?", "no idea")) == []


def test_other_texts_are_no_leak() -> None:
    assert kinds(row("a", POEM), row("b", "a short note about the weather in the hills")) == []
    assert kinds(row("a", "hello there"), row("b", "well, hello there, friend")) == []
    assert leaks([], [row("b", POEM)]) == leaks([row("a", POEM)], []) == []


@given(st.text())
def test_equal_letters_fall_into_the_same_split(text: str) -> None:
    assert 0.0 <= share_of(text) < 1.0
    assert share_of(text) == share_of(plain(text)) == share_of(f" {text}\n")

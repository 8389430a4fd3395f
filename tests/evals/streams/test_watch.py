"""Streams word by word, against small cases that can be counted by hand."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise

import pytest
from msgspec.structs import replace

from balustrade.core.errors import DataError
from balustrade.evals.named import Access, subject
from balustrade.evals.streams.answers import Answer
from balustrade.evals.streams.heads import answer_head
from balustrade.evals.streams.lengths import CLASSES, joined
from balustrade.evals.streams.onset import decile, onset_answers, sentences
from balustrade.evals.streams.watch import LIVE, Outcome, Reading, Watch

WORDS = {"words": ("xyzzy",), "normalise": False}
LATE = Answer("late", "q", "one two three four xyzzy six seven eight", True, onset=4)
LAST = Answer("last", "q", "one two xyzzy", True, onset=2)
CALM = Answer("calm", "q", "one two three", False)


def keywords(*, grown: bool = False) -> Watch:
    made = subject("keywords", Access(WORDS))
    return Watch(made.guard, answer_head(made), made.send, grown=grown)


def test_words_come_with_the_gap_that_follows_and_make_up_the_text() -> None:
    answer = Answer("a", "q", "  one two  three ", False)
    assert answer.chunks == ("  one ", "two  ", "three ")
    assert [answer.begun(size) for size in (0, 1, 6, 7, 99)] == [0, 1, 1, 2, 3]


def test_a_stream_is_stopped_at_the_word_and_nothing_of_it_has_left() -> None:
    watch = keywords()
    assert watch.watch([LATE, LAST, CALM]) == [
        Outcome(8, 5, 4, stopped=True),
        Outcome(3, 3, 2, stopped=True),
        Outcome(3, 3, 3),
    ]
    assert watch.reading == Reading(
        11, len("one two three four xyzzy " + "one two xyzzy" + "one two three")
    )


def test_on_prefixes_the_stop_waits_for_the_next_place_of_judgement() -> None:
    watch = keywords(grown=True)
    assert watch.watch([LATE]) == [Outcome(8, 7, 4, stopped=True)]
    assert watch.reading.characters > len(LATE.text)


def test_what_a_stream_guard_asks_another_model_counts_as_read() -> None:
    [answer] = [each for each in onset_answers(10) if each.unsafe][:1]
    readings = []
    for fields in ({}, {"confirm": "static"}):
        with closing(subject("scm", Access(fields))) as made:
            watch = Watch(made.guard, replace(answer_head(made), threshold=1.0), made.send)
            watch.watch([answer])
            readings.append(watch.reading)
    assert readings[0] == Reading(answer.words, len(answer.text))
    assert readings[1].texts > readings[0].texts
    assert readings[1].characters > readings[0].characters


def test_more_streams_than_grow_at_once_come_out_in_order() -> None:
    many = [LATE, CALM, LAST] * LIVE
    assert keywords().watch(many) == keywords().watch([LATE, CALM, LAST]) * LIVE


def test_what_is_stopped_at_k_hits_is_stopped_no_later_at_fewer() -> None:
    answers = [each for each in onset_answers(10) if each.unsafe][:4]
    stops = []
    for hits in (1, 3, 6):
        with closing(subject("scm", Access({"hits": hits, "words": 0}))) as made:
            stops.append(Watch(made.guard, answer_head(made), made.send).watch(answers))
    for sooner, later in pairwise(stops):
        for one, other in zip(sooner, later, strict=True):
            assert one.stopped >= other.stopped
            assert one.seen <= other.seen
    assert sum(each.seen for each in stops[0]) < sum(each.seen for each in stops[-1])


def test_harm_begins_at_the_word_that_is_named_in_the_tenth_that_is_wanted() -> None:
    known = sentences()
    harsh = {text.split()[0].strip(",") for text in known.harsh}
    made = onset_answers(20, seed=3)
    assert [decile(each) for each in made[:20]] == [*range(10)] * 2
    assert [each.unsafe for each in made] == [True] * 20 + [False] * 20
    for each in made:
        words = each.text.split()
        assert len(words) == each.words
        if each.unsafe:
            assert words[each.onset].strip(",") in harsh
            assert each.onset == 0 or words[each.onset - 1].endswith(".")
    assert made == onset_answers(20, seed=3) != onset_answers(20, seed=4)


@pytest.mark.parametrize(("above", "up_to"), CLASSES)
def test_made_answers_have_the_length_and_one_language(above: int, up_to: int) -> None:
    parts = [
        Answer(f"{lang}-{number}", f"q {lang}", f"{lang}{number} " * 30, False, lang)
        for lang in ("aa", "bb")
        for number in range(9)
    ]
    made = joined(parts, above, up_to, 6, seed=1)
    assert made == joined(parts, above, up_to, 6, seed=1)
    for each in made:
        assert above < each.words <= up_to
        assert each.request == f"q {each.lang}"
        assert {word[:2] for word in each.text.split()} == {each.lang}


def test_no_harmful_answer_is_made_into_a_harmless_one() -> None:
    with pytest.raises(DataError, match="'late': expected a harmless answer"):
        joined([CALM, LATE], 0, 100, 1, seed=0)

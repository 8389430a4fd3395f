from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import Flow, compute
from balustrade.core.content import Content, Role
from balustrade.core.errors import GuardError
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.run import run
from balustrade.guards.cadence import LARGEST_STEP, LONGEST_SENTENCE, Cadence, Place, first_due
from balustrade.guards.window import Watched, Window

ASKED = Content.of("Tell me.")
cadences: st.SearchStrategy[Cadence] = st.sampled_from(["chunk", "word", "sentence"])


class Recorder(Spec, frozen=True, dict=True):
    """Flag the last letter of each text; note what was judged and what it answers."""

    seen: list[tuple[str, ...]]
    name: str = "recorder"

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    @property
    def latency(self) -> Latency:
        return Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        assert all(c.role is Role.ASSISTANT and c.request == "Tell me." for c in batch)
        self.seen.append(tuple(content.text for content in batch))
        return compute(self._judge, batch)

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [Verdict(self.name, (self._last(content.text),)) for content in batch]

    def _last(self, text: str) -> Finding:
        return Finding("last", 1.0, Span(0, len(text) - 1, len(text)))


def places(text: str, every: Cadence) -> list[int]:
    """Where a text is due, from the front."""
    found, here, last, is_due = [], Place(0, 0), Place(0, 0), True
    while is_due:
        here, is_due = first_due(text, here, last, every)
        if is_due:
            found.append(here.end)
            last = here
    return found


def fed(window: Window, *chunks: str) -> tuple[Watched, list[Finding]]:
    state = window.start(ASKED)
    findings: list[Finding] = []
    for chunk in chunks:
        [(state, verdict)] = run(window.step([state], [chunk]), local.send)
        findings += verdict.findings
    return state, findings


def test_each_words_end_is_a_place_once_what_follows_shows_it() -> None:
    assert places("It was late.  So ", "chunk") == [2, 6, 12, 16]
    assert places("It was lat", "chunk") == [2, 6]


def test_scripts_without_gaps_have_a_place_at_each_character() -> None:
    assert places("你好。a b", "chunk") == [1, 2, 3, 4]


def test_a_run_without_gaps_does_not_wait_for_ever() -> None:
    assert places("x" * 200, "chunk") == [64, 128, 192]


def test_sentences_end_at_their_marks_even_in_quotes() -> None:
    text = 'It was "late." So e.g. we left! (At last.) Then'
    assert [text[:end].rsplit(maxsplit=1)[-1] for end in places(text, "sentence")] == [
        '"late."',
        "e.g.",
        "left!",
        "last.)",
    ]


def test_a_sentence_that_goes_on_is_judged_all_the_same() -> None:
    ends = places("word " * 300, "sentence")
    assert len(ends) == 3
    assert ends[0] >= LONGEST_SENTENCE


def test_words_are_judged_ever_less_often_up_to_a_limit() -> None:
    ends = [end // 2 + 1 for end in places("w " * 200, "word")]
    assert ends[:6] == [2, 4, 7, 11, 17, 26]
    steps = [b - a for a, b in pairwise(ends)]
    assert max(steps) == steps[-1] == LARGEST_STEP


@given(st.text("ab .\n你", max_size=300), st.data())
def test_places_of_a_beginning_are_places_of_the_whole(text: str, data: st.DataObject) -> None:
    every = data.draw(cadences)
    cut = data.draw(st.integers(0, len(text)))
    whole, beginning = places(text, every), places(text[:cut], every)
    assert [end for end in beginning if end < cut] == [end for end in whole if end < cut]
    assert set(beginning) <= set(whole)


def test_a_window_sees_only_the_last_characters_and_places_what_it_finds() -> None:
    guard = Recorder([])
    _, findings = fed(Window(guard, "chunk", 64), *["word "] * 100)
    assert all(len(text) <= 64 for batch in guard.seen for text in batch)
    assert [f.span for f in findings] == [Span(0, 5 * n + 3, 5 * n + 4) for n in range(100)]


def test_places_that_come_in_one_chunk_are_judged_in_one_batch_and_given_one_by_one() -> None:
    guard = Recorder([])
    window = Window(guard, "chunk")
    state, findings = fed(window, "one two three ", "", "")
    assert guard.seen == [("one", "one two", "one two three")]
    assert [f.span for f in findings] == [Span(0, 2, 3), Span(0, 6, 7), Span(0, 12, 13)]
    assert window.held(state) == 1


def test_the_end_is_judged_unless_it_was() -> None:
    guard = Recorder([])
    window = Window(guard, "chunk")
    state, _ = fed(window, "one tw")
    [verdict] = run(window.finish([state]), local.send)
    assert guard.seen == [("one",), ("one tw",)]
    assert verdict.findings == (Finding("last", 1.0, Span(0, 5, 6)),)
    assert run(window.finish([window.start(ASKED)]), local.send) == [Verdict("recorder")]


def test_a_peek_moves_nothing() -> None:
    window = Window(Recorder([]), "word")
    state, _ = fed(window, "on")
    [verdict] = run(window.peek([state]), local.send)
    assert verdict.findings == (Finding("last", 1.0, Span(0, 1, 2)),)
    assert window.held(state) == 2


class Mute(Recorder, frozen=True, dict=True):
    """Gives no verdicts."""

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return []


def test_a_guard_that_gives_too_few_verdicts_breaks_its_contract() -> None:
    with pytest.raises(GuardError, match="gave 0 verdicts for 1 contents"):
        fed(Window(Mute([]), "chunk"), "one two")

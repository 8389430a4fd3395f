"""A stream guard in doubt: whom it asks, when, what waits meanwhile, and what both say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Route
from balustrade.backends.tiers import Tiers
from balustrade.core.call import (
    Advance,
    Advanced,
    Call,
    Classify,
    Failed,
    Heard,
    Onward,
    Reply,
    Vectors,
)
from balustrade.core.content import Content, Role
from balustrade.core.errors import BackendError
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.core.verdict import Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.doubt import BEGUN, EVERY, READ, confirmed
from balustrade.guards.scm import Scm
from balustrade.text.growing import every, whole

scores = st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.9, 1.0]), max_size=60)
ASKED = Content.of("Tell me.")
Send = Callable[[tuple[Call, ...]], list[Reply]]


def written(known: Sequence[float]) -> str:
    return "".join(f"w{n} " for n in range(len(known)))


def heard(known: Sequence[float], call: Advance) -> Onward:
    """Play the monitor: the n-th word scores the n-th number; a state is the text so far."""
    found: list[Advanced] = []
    for state, chunk in zip(call.states, call.chunks, strict=True):
        text, seen = ("", 0) if isinstance(state, str) else state
        words = (every if call.ends else whole)(text + chunk)
        fresh = [Heard(w.start, w.end, known[n]) for n, w in enumerate(words)][seen:]
        open_ = (text + chunk)[words[-1].end if words else 0 :].lstrip()
        size = len(text) + len(chunk)
        found.append(Advanced((text + chunk, len(words)), tuple(fresh), size - len(open_)))
    return Onward(tuple(found))


class Second:
    """Plays the other model too: what it holds harmful hangs on how many words it is shown."""

    def __init__(self, known: Sequence[float], opinion: float | dict[int, float] = 0.9) -> None:
        self.known = known
        self.opinion = opinion
        self.asked: list[str] = []
        self.requests: list[str] = []
        self.rounds = 0

    def __call__(self, calls: tuple[Call, ...]) -> list[Reply]:
        [call] = calls
        if isinstance(call, Advance):
            return [heard(self.known, call)]
        assert isinstance(call, Classify)
        assert call.careful
        self.rounds += 1
        self.asked += call.texts
        self.requests += call.contexts
        return [Vectors.of([[0.1, self.says(t)] for t in call.texts], ("refusal", RESPONSE_HARM))]

    def says(self, text: str) -> float:
        if isinstance(self.opinion, float):
            return self.opinion
        return self.opinion.get(len(text.split()), 0.0)


def guard(**fields: Any) -> Scm:
    return Scm(model="m", hits=2, words=4, confirm="second", **fields)


def judged(known: Sequence[float], send: Send, **fields: Any) -> Verdict:
    answer = Content.of(written(known), Role.ASSISTANT, (ASKED,))
    [verdict] = run(guard(**fields).check([answer]), send)
    return verdict


def streamed(one: Scm, chunks: Sequence[str], send: Send) -> list[Any]:
    state = one.start(ASKED)
    found: list[Any] = []
    for chunk in chunks:
        fresh, has_advanced = chunk, True
        while has_advanced:
            before = one.held(state) + len(fresh)
            [(state, verdict)] = run(one.step([state], [fresh]), send)
            found += verdict.findings
            has_advanced = 0 < one.held(state) < before and not one.rests(state)
            fresh = ""
    [verdict] = run(one.finish([state]), send)
    return [*found, *verdict.findings]


def test_a_calm_stream_asks_nobody() -> None:
    second = Second([0.4] * 50 + [0.9] + [0.0] * 20)
    assert judged([0.4] * 50 + [0.9] + [0.0] * 20, second) == Verdict("scm")
    assert not second.asked


def test_a_doubt_is_asked_about_where_it_arises() -> None:
    known = [0.0] * 20 + [0.9, 0.9, 0.0, 0.0]
    second = Second(known, 0.9)
    [finding] = judged(known, second).findings
    assert second.asked == [" ".join(f"w{n}" for n in range(22))]
    assert second.requests == [ASKED.text]
    assert finding.score == confirmed(0.9, 0.9)
    assert finding.span is not None
    assert written(known)[finding.span.start : finding.span.end] == "w20 w21"


def test_early_words_in_doubt_wait_until_enough_was_said() -> None:
    known = [0.9] * 3 + [0.0] * 30
    second, one = Second(known), guard()
    state, size, free = one.start(ASKED), 0, 0
    for number in range(len(known)):
        [(state, verdict)] = run(one.step([state], [f"w{number} "]), second)
        size += len(f"w{number} ")
        if verdict.findings:
            break
        free = size - one.held(state)
        assert one.held(state) <= one.hold
    assert number == BEGUN - 1
    assert second.asked == [" ".join(f"w{n}" for n in range(BEGUN))]
    assert free == 0
    [finding] = verdict.findings
    assert finding.span is not None
    assert finding.span.start == free


@pytest.mark.parametrize(("opinion", "asks"), [(0.5, 2), (0.02, 1)])
def test_words_wait_for_a_second_answer_if_the_first_leans_to_harm(
    opinion: float, asks: int
) -> None:
    known = [0.0] * 20 + [0.9] * 60
    second, one = Second(known, opinion), guard()
    state, size, left = one.start(ASKED), 0, []
    for number in range(len(known)):
        [(state, _)] = run(one.step([state], [f"w{number} "]), second)
        size += len(f"w{number} ")
        left.append(len(written(known)[: size - one.held(state)].split()))
        assert one.held(state) <= one.hold
    freed = next(number for number, count in enumerate(left) if count > 20)
    assert len([text for text in second.asked if len(text.split()) <= freed + 1]) == asks


def test_what_was_denied_leaves_and_is_asked_again_only_after_some_words() -> None:
    known = [0.9] * 60
    second, one = Second(known, 0.0), guard()
    streamed(one, [f"w{n} " for n in range(60)], second)
    counts = [len(text.split()) for text in second.asked]
    assert counts[:3] == [BEGUN, BEGUN + EVERY, BEGUN + 2 * EVERY]
    assert counts[-1] == 60


def test_an_answer_that_ends_in_doubt_is_asked_about_at_its_end() -> None:
    known = [0.0, 0.9, 0.9]
    second = Second(known)
    found = streamed(guard(), ["w0 w1", " w2", " "], second)
    assert second.asked == ["w0 w1 w2"]
    assert [finding.score for finding in found] == [confirmed(0.9, 0.9)]


def test_the_score_of_both_is_a_mean_of_logits_the_second_counted_twice() -> None:
    def logit(p: float) -> float:
        return log(p / (1 - p))

    for own, other in ((0.5, 0.5), (0.9, 0.2), (0.6, 0.99)):
        mean = (logit(own) + 2 * logit(other)) / 3
        assert confirmed(own, other) == pytest.approx(1 / (1 + exp(-mean)), abs=1e-4)
    assert confirmed(0.5, 1.0) > confirmed(0.5, 0.9) > confirmed(0.5, 0.1) > confirmed(0.5, 0.0)
    assert confirmed(0.9, 0.5) > confirmed(0.6, 0.5)


@settings(deadline=None, max_examples=150)
@given(scores, st.dictionaries(st.integers(1, 60), st.sampled_from([0.2, 0.7, 0.99])), st.data())
def test_chunks_change_neither_what_is_asked_nor_what_is_found(
    known: list[float], opinion: dict[int, float], data: st.DataObject
) -> None:
    text = written(known)
    places = data.draw(st.sets(st.integers(0, len(text)), max_size=20))
    chunks = [text[a:b] for a, b in pairwise([0, *sorted(places), len(text)])]
    held_back = data.draw(st.integers(0, 3))
    whole, parts = Second(known, opinion), Second(known, opinion)
    verdict = judged(known, whole, held_back=held_back)
    assert streamed(guard(held_back=held_back), chunks, parts) == list(verdict.findings)
    assert [text.strip() for text in parts.asked] == [text.strip() for text in whole.asked]


@settings(deadline=None, max_examples=100)
@given(scores, st.integers(0, 4))
def test_nothing_leaves_that_a_finding_holds_back(known: list[float], held_back: int) -> None:
    one, second = guard(held_back=held_back), Second(known)
    state, size = one.start(ASKED), 0
    for number in range(len(known)):
        free = size - one.held(state)
        [(state, verdict)] = run(one.step([state], [f"w{number} "]), second)
        size += len(f"w{number} ")
        assert one.held(state) <= one.hold
        assert all(f.span and f.span.start >= free for f in verdict.findings)


def test_streams_in_doubt_are_asked_about_together() -> None:
    known = [0.9] * BEGUN
    second, one = Second(known), guard()
    states = [one.start(ASKED) for _ in range(5)]
    for number in range(BEGUN + 1):
        stepped = run(one.step(states, [f"w{number} "] * 5), second) if number < BEGUN else []
        states = [state for state, _ in stepped] or states
    run(one.finish(states), second)
    assert len(second.asked) == 5
    assert second.rounds == 1


def test_of_a_long_answer_the_end_is_read_and_kept() -> None:
    known = [0.0] * 2_000 + [0.9, 0.9]
    second, one = Second(known), guard()
    state = one.start(ASKED)
    for number in range(len(known)):
        [(state, _)] = run(one.step([state], [f"w{number} "]), second)
        assert len(state.text) <= READ + 3 * len("w1999 ")
    run(one.finish([state]), second)
    [text] = second.asked
    assert len(text) == READ
    assert text.endswith("w2000 w2001")


def test_a_model_that_does_not_answer_or_cannot_judge_answers_is_an_error() -> None:
    known = [0.9] * 20

    def answering(reply: Reply) -> Send:
        return lambda calls: [
            heard(known, call) if isinstance(call, Advance) else reply for call in calls
        ]

    with pytest.raises(BackendError, match="gone"):
        judged(known, answering(Failed("gone")))
    with pytest.raises(BackendError, match="cannot confirm 'response-harm'; it has: cat"):
        judged(known, answering(Vectors.of([[0.5]], ("cat",))))


@pytest.mark.parametrize(
    "fields", [{"confirm": "monitor"}, {"confirm": "cascade", "category": "x"}]
)
def test_a_shipped_model_that_cannot_confirm_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="does not judge whole answers for"):
        build({"use": "scm", "hits": 2, "words": 8, **fields})


def test_thresholds_are_those_measured_with_that_model() -> None:
    alone, both = Scm(), Scm(confirm="cascade")
    limit = both.threshold_for(RESPONSE_HARM, 0.01)
    assert limit is not None
    assert limit != alone.threshold_for(RESPONSE_HARM, 0.01)
    assert Scm(confirm="encoder").threshold_for(RESPONSE_HARM, 0.01) is None


def test_the_shipped_pair_lets_a_calm_answer_by_that_alarms_the_monitor_alone() -> None:
    route = Route({"monitor": Recurrent, "cascade": Tiers})
    answer = Content.of(CALM, Role.ASSISTANT, (Content.of("How do I kill a frozen process?"),))
    alone, both = Scm(floor=0.01), Scm(floor=0.01, confirm="cascade")
    [first] = run(alone.check([answer]), route.send)
    [second] = run(both.check([answer]), route.send)
    assert max(f.score for f in first.findings) > max(f.score for f in second.findings)


CALM = (
    "To kill a frozen process, find its number with ps, then run kill with that number. If it does "
    "not die, kill -9 ends it at once; it cannot be caught, and what was not saved is lost."
)

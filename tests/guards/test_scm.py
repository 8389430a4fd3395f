"""The stream guard over scripted scores: a test plays the model's part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.core.call import Advance, Advanced, Call, Failed, Heard, Onward, Reply
from balustrade.core.content import Content, Role, ToolCall
from balustrade.core.errors import BackendError, PolicyError
from balustrade.core.guard import Guard, Monitor
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.core.verdict import Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.delay import Delay, Leaky, Stopping
from balustrade.guards.delay import Window as Near
from balustrade.guards.delay import run as stopped_by
from balustrade.guards.scm import Scm
from balustrade.text.growing import every, whole

ASKED = Content.of("Tell me.")
THRESHOLDS = (0.5, 0.6, 0.8, 0.95)
scores = st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.55, 0.7, 0.8, 0.9, 0.97, 1.0]), max_size=60)
Send = Callable[[tuple[Call, ...]], list[Reply]]


def scripted(known: Sequence[float]) -> Send:
    """Score the n-th word by the n-th number; a state is the request, then what was read."""

    def answer(state: Any, chunk: str, *, ends: bool) -> Advanced:
        start, open_, seen = (0, "", 0) if isinstance(state, str) else state
        text = open_ + chunk
        words = every(text) if ends else whole(text)
        cut = words[-1].end if words else 0
        rest = text[cut:].lstrip()
        at = start + len(text) - len(rest)
        heard = tuple(
            Heard(word.start + start, word.end + start, known[seen + n])
            for n, word in enumerate(words)
        )
        return Advanced((at, rest, seen + len(words)), heard, at)

    def send(calls: tuple[Call, ...]) -> list[Reply]:
        [call] = calls
        assert isinstance(call, Advance)
        each = zip(call.states, call.chunks, strict=True)
        return [Onward(tuple(answer(s, c, ends=call.ends) for s, c in each))]

    return send


def written(known: Sequence[float]) -> str:
    return "".join(f"w{n} " for n in range(len(known)))


def judged(guard: Scm, known: Sequence[float]) -> Verdict:
    answer = Content.of(written(known), Role.ASSISTANT, (ASKED,))
    [verdict] = run(guard.check([answer]), scripted(known))
    return verdict


def streamed(guard: Scm, known: Sequence[float], chunks: Sequence[str]) -> list[Any]:
    send, state = scripted(known), guard.start(ASKED)
    found: list[Any] = []
    for chunk in chunks:
        fresh, has_advanced = chunk, True
        while has_advanced:
            before = guard.held(state) + len(fresh)
            [(state, verdict)] = run(guard.step([state], [fresh]), send)
            found += verdict.findings
            assert guard.held(state) <= guard.hold + before
            fresh, has_advanced = "", 0 < guard.held(state) < before
    [verdict] = run(guard.finish([state]), send)
    return [*found, *verdict.findings]


def first_word(findings: Sequence[Any], threshold: float) -> int:
    """The number of the word whose finding first reaches a threshold, -1 if none does."""
    for finding in findings:
        if finding.score >= threshold:
            return sum(1 for _ in whole(written([0.0] * 999)[: finding.span.end] + " ")) - 1
    return -1


@settings(deadline=None, max_examples=150)
@given(scores, st.integers(1, 5), st.sampled_from([0, 5, 8, 16]))
def test_it_stops_where_the_rule_of_the_paper_stops(
    known: list[float], hits: int, words: int
) -> None:
    guard = Scm(model="m", hits=hits, words=words)
    findings = judged(guard, known).findings
    for threshold in THRESHOLDS:
        rule: Stopping = Near(threshold, hits, words) if words else Delay(threshold, hits)
        assert first_word(findings, threshold) == stopped_by(rule, known).stopped


@settings(deadline=None, max_examples=100)
@given(scores, st.integers(1, 4), st.sampled_from([0.02, 0.2, 0.5]))
def test_a_leaky_counter_stops_where_its_rule_stops(
    known: list[float], hits: int, leak: float
) -> None:
    guard = Scm(model="m", hits=hits, words=0, leak=leak)
    stopped = stopped_by(Leaky(guard.floor, hits, leak), known).stopped
    assert first_word(judged(guard, known).findings, guard.floor) == stopped


@settings(deadline=None, max_examples=150)
@given(scores, st.integers(1, 4), st.sampled_from([0, 8]), st.integers(0, 3), st.data())
def test_chunks_do_not_change_what_is_found(
    known: list[float], hits: int, words: int, held_back: int, data: st.DataObject
) -> None:
    guard = Scm(model="m", hits=hits, words=words, held_back=held_back)
    text = written(known)
    places = data.draw(st.sets(st.integers(0, len(text)), max_size=20))
    chunks = [text[a:b] for a, b in pairwise([0, *sorted(places), len(text)])]
    assert streamed(guard, known, chunks) == list(judged(guard, known).findings)


@settings(deadline=None, max_examples=100)
@given(scores, st.integers(1, 4), st.integers(0, 4), st.integers(0, 4))
def test_nothing_leaves_that_a_finding_holds_back(
    known: list[float], hits: int, held_back: int, pause: int
) -> None:
    guard = Scm(model="m", hits=hits, words=8, held_back=held_back, pause=pause)
    send, state, size = scripted(known), guard.start(ASKED), 0
    for number in range(len(known)):
        free = size - guard.held(state)
        chunk = f"w{number} "
        [(state, verdict)] = run(guard.step([state], [chunk]), send)
        size += len(chunk)
        assert guard.held(state) <= guard.hold
        assert all(finding.span and finding.span.start >= free for finding in verdict.findings)


def test_words_held_back_are_withheld_with_the_last_hit() -> None:
    known = [0.0, 0.9, 0.9, 0.9]
    [plain] = judged(Scm(model="m", hits=3, words=8, pause=0), known).findings
    [held] = judged(Scm(model="m", hits=3, words=8, held_back=3, pause=0), known).findings
    starts = [finding.span and finding.span.start for finding in (plain, held)]
    assert starts == [written(known).index("w3"), written(known).index("w1")]


def test_words_after_one_that_counts_wait_for_more_and_are_withheld_with_them() -> None:
    known = [0.0, 0.0, 0.9, 0.0, 0.0, 0.9, 0.9, 0.0]
    guard = Scm(model="m", hits=3, words=8, pause=8)
    send, state, size, free = scripted(known), guard.start(ASKED), 0, 0
    for number in range(len(known)):
        [(state, verdict)] = run(guard.step([state], [f"w{number} "]), send)
        size += len(f"w{number} ")
        if verdict.findings:
            break
        free = size - guard.held(state)
    assert number == 6
    assert free == written(known).index("w2")
    [finding] = verdict.findings
    assert finding.span is not None
    assert finding.span.start == free


@pytest.mark.parametrize("pause", [1, 3, 8])
def test_words_leave_again_where_no_more_of_them_count(pause: int) -> None:
    known = [0.0, 0.9, *[0.0] * 20]
    guard = Scm(model="m", hits=3, words=8, pause=pause)
    send, state, size = scripted(known), guard.start(ASKED), 0
    waiting = []
    for number in range(len(known)):
        [(state, _)] = run(guard.step([state], [f"w{number} "]), send)
        size += len(f"w{number} ")
        if guard.held(state):
            waiting.append(number)
    assert waiting == [*range(1, 1 + pause)]


def test_a_finding_is_told_again_only_when_the_score_rises() -> None:
    findings = judged(Scm(model="m", hits=1, words=4), [0.6, 0.6, 0.55, 0.8, 0.8, 0.7]).findings
    assert [finding.score for finding in findings] == [0.6, 0.8]
    assert {finding.category for finding in findings} == {RESPONSE_HARM}


def test_the_state_stays_small_in_a_long_stream() -> None:
    guard = Scm(model="m", hits=4, words=64)
    known = [0.6] * 5_000
    send, state = scripted(known), guard.start(ASKED)
    for number in range(5_000):
        [(state, _)] = run(guard.step([state], [f"w{number} "]), send)
    assert len(state.hits) <= 64
    assert not state.ahead


def test_only_answers_are_judged() -> None:
    guard = Scm(model="m", hits=1, words=4)
    call = Content((ToolCall("f", "{}"),), Role.USER)
    batch = [ASKED, call, Content.of("", Role.ASSISTANT)]
    assert run(guard.check(batch), scripted([])) == [Verdict("scm")] * 3


def test_whole_answers_are_left_to_others_if_it_says_so() -> None:
    guard = Scm(model="m", hits=1, words=4, whole=False)
    assert judged(guard, [0.9]) == Verdict("scm")
    assert streamed(guard, [0.9], ["w0 "])


def test_it_is_a_guard_and_a_monitor() -> None:
    guard = build({"use": "scm"})
    assert isinstance(guard, Guard)
    assert isinstance(guard, Monitor)


def test_a_model_that_does_not_answer_is_an_error() -> None:
    guard = Scm(model="m", hits=1, words=4)
    with pytest.raises(BackendError, match="gone"):
        run(guard.step([guard.start(ASKED)], ["a "]), lambda _: [Failed("gone")])


def test_one_answer_too_few_is_an_error() -> None:
    guard = Scm(model="m", hits=1, words=4)
    with pytest.raises(BackendError, match="unexpected reply"):
        run(guard.step([guard.start(ASKED)], ["a "]), lambda _: [Onward(())])


def test_thresholds_are_those_of_the_shipped_rule() -> None:
    guard = Scm()
    limit = guard.threshold_for(RESPONSE_HARM, 0.01)
    assert limit is not None
    assert guard.threshold_for("injection", 0.01) is None
    assert Scm(hits=guard.rule.hits + 1, words=64).threshold_for(RESPONSE_HARM, 0.01) is None
    assert Scm(leak=0.1).threshold_for(RESPONSE_HARM, 0.01) is None
    with pytest.raises(PolicyError, match="at least"):
        guard.threshold_for(RESPONSE_HARM, 1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hits": 9, "words": 8}, "9 hits cannot be among 8 words"),
        ({"model": "hub:x"}, "comes without a rule: give 'hits' and 'words'"),
        ({"leak": 1.5}, "leak"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build({"use": "scm", **fields})

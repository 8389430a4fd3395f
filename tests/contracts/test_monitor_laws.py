"""The laws every monitor keeps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Route
from balustrade.backends.static import Static
from balustrade.core.content import Content, Role
from balustrade.core.guard import Incremental, Monitor
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.scm import Scm
from balustrade.guards.tail import IncrementalGuard, Tail
from balustrade.guards.window import Window

ASKED = Content.of("Tell me.")
KEYWORDS = build({"use": "keywords", "words": ["bomb", "api key", "the key to it", "爆弾"]})
PATTERNS = build({"use": "patterns"})
CLASSIFIER = build({"use": "classifier", "floor": 0.2})
ROUTE = Route({"static": lambda: Static("static"), "monitor": lambda: Recurrent("monitor")})


def tail(guard: Any) -> Tail:
    assert isinstance(guard, Incremental)
    return Tail(cast("IncrementalGuard", guard))


def scm(**fields: Any) -> Scm:
    guard = build({"use": "scm", "floor": 0.05, **fields})
    assert isinstance(guard, Scm)
    return guard


TAILS = {"keywords": tail(KEYWORDS), "patterns": tail(PATTERNS)}
MONITORS: dict[str, Monitor[Any]] = {
    **TAILS,
    "each word": Window(CLASSIFIER, "chunk"),
    "words": Window(CLASSIFIER, "word", 300),
    "sentences": Window(CLASSIFIER, "sentence"),
    "windows of keywords": Window(KEYWORDS, "word", 64),
    "scm": scm(),
    "scm, held back": scm(held_back=3),
    "scm, since the beginning": scm(hits=2, words=0),
    "scm, confirmed": scm(confirm="static", hits=1, words=4),
}

fragments = st.sampled_from(
    [
        "how to",
        "make a",
        "bomb",
        "bombs",
        "api",
        "key",
        "api key",
        "the key",
        "to it",
        ".",
        "a",
        "ann@example.org",
        "write to ann@",
        "example.org",
        "4111 1111",
        "1111 1111",
        "+1 212",
        "555",
        "203.0.113",
        ".9",
        "爆弾",
        "爆",
        "\n",
        "b\u200bomb",
        "password:",
        "-----BEGIN",
        "zero, two",
        "DE89 3704 0044",
        "0532 0130 00",
        "call 020 7946",
        "0958",
    ]
)
texts = st.builds(
    lambda words, gaps: "".join(w + g for w, g in zip(words, gaps, strict=False)),
    st.lists(fragments, max_size=25),
    st.lists(st.sampled_from((" ", " ", " ", "", "\n")), min_size=25, max_size=25),
)


class Cut(NamedTuple):
    text: str
    chunks: list[str]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=30)))
    return Cut(text, [text[a:b] for a, b in pairwise([0, *places, len(text)])])


each_monitor = pytest.mark.parametrize("name", sorted(MONITORS))
each_tail = pytest.mark.parametrize("name", sorted(TAILS))


def watched(monitor: Monitor[Any], chunks: Sequence[str]) -> list[Verdict]:
    """Every verdict of a stream, in order, each step gone on with until it gets no further."""
    state, verdicts = monitor.start(ASKED), []
    for chunk in chunks:
        fresh, has_advanced = chunk, True
        while has_advanced:
            before = monitor.held(state) + len(fresh)
            [(state, verdict)] = run(monitor.step([state], [fresh]), ROUTE.send)
            verdicts.append(verdict)
            fresh, has_advanced = "", 0 < monitor.held(state) < before
    return [*verdicts, *run(monitor.finish([state]), ROUTE.send)]


def evidence(verdicts: Sequence[Verdict]) -> list[tuple[str, float, object]]:
    found = {(f.category, round(f.score, 4), f.span) for v in verdicts for f in v.findings}
    return sorted(found, key=repr)


@each_monitor
@settings(max_examples=60, deadline=None)
@given(case=cuts())
def test_chunks_do_not_change_the_evidence(name: str, case: Cut) -> None:
    monitor = MONITORS[name]
    assert evidence(watched(monitor, case.chunks)) == evidence(watched(monitor, [case.text]))


@each_tail
@settings(max_examples=200, deadline=None)
@given(case=cuts())
def test_the_evidence_is_that_of_the_whole_text(name: str, case: Cut) -> None:
    monitor = TAILS[name]
    whole = Content.of(case.text, Role.ASSISTANT, (ASKED,))
    known = run(monitor.guard.check([whole]), ROUTE.send)
    assert evidence(watched(monitor, case.chunks)) == evidence(known)


@each_monitor
@settings(max_examples=30, deadline=None)
@given(cases=st.lists(cuts(), min_size=1, max_size=4))
def test_streams_in_one_batch_are_judged_as_each_alone(name: str, cases: list[Cut]) -> None:
    monitor = MONITORS[name]
    states = [monitor.start(ASKED) for _ in cases]
    alone = list(states)
    for number in range(max(len(case.chunks) for case in cases)):
        chunks = [c.chunks[number] if number < len(c.chunks) else "" for c in cases]
        together = run(monitor.step(states, chunks), ROUTE.send)
        apart = [
            run(monitor.step([state], [chunk]), ROUTE.send)[0]
            for state, chunk in zip(alone, chunks, strict=True)
        ]
        states, alone = [state for state, _ in together], [state for state, _ in apart]
        for (_, one), (_, other) in zip(together, apart, strict=True):
            assert evidence([one]) == evidence([other])


@each_tail
@settings(max_examples=100, deadline=None)
@given(case=cuts())
def test_what_is_held_suffices(name: str, case: Cut) -> None:
    monitor, seen = TAILS[name], 0
    state = monitor.start(ASKED)
    for chunk in case.chunks:
        settled = seen - monitor.held(state)
        [(state, verdict)] = run(monitor.step([state], [chunk]), ROUTE.send)
        seen += len(chunk)
        assert all(starts_at(finding) >= settled for finding in verdict.findings)
        assert monitor.held(state) <= monitor.hold
    settled = seen - monitor.held(state)
    [verdict] = run(monitor.finish([state]), ROUTE.send)
    assert all(starts_at(finding) >= settled for finding in verdict.findings)


def starts_at(finding: Finding) -> int:
    assert finding.span is not None
    return finding.span.start


@each_monitor
def test_a_state_can_be_stepped_twice(name: str) -> None:
    monitor = MONITORS[name]
    [(state, _)] = run(monitor.step([monitor.start(ASKED)], ["write to ann@"]), ROUTE.send)
    first = run(monitor.step([state], ["example.org now, "]), ROUTE.send)
    assert run(monitor.step([state], ["example.org now, "]), ROUTE.send) == first


@each_monitor
def test_a_long_stream_holds_no_more_than_it_declares(name: str) -> None:
    monitor = MONITORS[name]
    state = monitor.start(ASKED)
    for number in range(300):
        [(state, _)] = run(monitor.step([state], [f"w{number} " * 3]), ROUTE.send)
        while True:
            before = monitor.held(state)
            [(state, _)] = run(monitor.step([state], [""]), ROUTE.send)
            if monitor.held(state) == before:
                break
        assert monitor.held(state) <= monitor.hold
    assert len(getattr(state, "text", "")) < 6_000

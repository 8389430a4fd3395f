from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.backends.local import Local
from balustrade.core.call import Flow, compute
from balustrade.core.content import Content, Role, Stage
from balustrade.core.decision import Action
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.run import arun, run
from balustrade.policy.document import Streaming
from balustrade.policy.model import OnError, Policy, Rule
from balustrade.policy.redact import redact
from balustrade.policy.vault import Vault
from balustrade.rails.progress import Piece
from balustrade.rails.rail import Rail
from balustrade.rails.release import arelease, release
from balustrade.rails.stream import Stream

RULES = (
    Rule("no-bombs", "bomb"),
    Rule("no-harm", "harm"),
    Rule("mask-names", "name", action="redact"),
)
ASKED = Content.of("Tell me a story.")


class Phrases(Spec, frozen=True):
    """Find whole phrases; a guard of nearby text."""

    phrases: tuple[str, ...]
    category: str
    name: str

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    @property
    def latency(self) -> Latency:
        return Latency.MICROSECONDS

    @property
    def reach(self) -> int:
        return 1

    def open_at(self, text: str, /) -> int:
        open_ = [
            len(text) - size
            for phrase in self.phrases
            for size in range(1, min(len(phrase), len(text)) + 1)
            if text.endswith(phrase[:size]) and (size == len(text) or not text[-size - 1].isalnum())
        ]
        return min(open_, default=len(text))

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        return compute(self._judge, batch, work=len(batch))

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        longest = "|".join(sorted(self.phrases, key=len, reverse=True))
        pattern = re.compile(rf"(?<![a-z])(?:{longest})(?![a-z])")
        return [
            Verdict(
                self.name,
                tuple(
                    Finding(self.category, 1.0, Span(0, *match.span()))
                    for match in pattern.finditer(content.text)
                ),
            )
            for content in batch
        ]


class Mood(Spec, frozen=True):
    """Judge a text as a whole: harm if it holds enough of a letter."""

    letter: str = "z"
    enough: int = 3
    fault: str = ""
    name: str = "mood"

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    @property
    def latency(self) -> Latency:
        return Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        if self.fault and any(self.fault in content.text for content in batch):
            raise RuntimeError("out of order")
        return compute(self._judge, batch, work=len(batch))

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        return [Verdict(self.name, self._findings(content.text)) for content in batch]

    def _findings(self, text: str) -> tuple[Finding, ...]:
        return (Finding("harm", 1.0),) * (text.count(self.letter) >= self.enough)


BOMBS = Phrases(("bomb", "the bomb shelter", "bo"), "bomb", "bombs")
NAMES = Phrases(("ann", "ann lee", "lee and the bomb", "bob"), "name", "names")


def stream(
    *guards: Any, on_error: OnError = OnError.BLOCK, settings: Streaming | None = None
) -> Stream:
    policy = Policy("p", RULES, on_error=on_error)
    return Stream(Rail(guards, policy, Stage.OUTPUT), settings)


def outcome(judged: Stream, chunks: Sequence[str]) -> tuple[str, Piece]:
    pieces = list(release(judged, ASKED, chunks, local.send))
    return "".join(piece.text for piece in pieces), pieces[-1]


words = st.sampled_from(
    (
        *(
            "a",
            "tale",
            "of",
            "bomb",
            "bombs",
            "the",
            "the bomb",
            "shelter",
            "ann",
            "lee",
            "ann lee",
        ),
        *("lee and", "bo", "bob", "zoo", "jazz", "b", ",", ".", "\n", "你好世界", "x" * 70),
    )
)
texts = st.lists(words, max_size=40).map(" ".join)


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=len(text) + 1)))
    bounds = [0, *places, len(text)]
    return text, [text[a:b] for a, b in pairwise(bounds)]


def as_it_may_leave(text: str) -> tuple[str, bool]:
    """What leaves of a text under RULES, from a look at the whole of it."""
    [bombs] = run(BOMBS.check([Content.of(text)]), local.send)
    [names] = run(NAMES.check([Content.of(text)]), local.send)
    end = min((f.span.start for f in bombs.findings if f.span), default=len(text))
    spans = [f for f in names.findings if f.span and f.span.start < end]
    end = min([end, *(f.span.start for f in spans if f.span and f.span.end > end)])
    inside = [f for f in spans if f.span and f.span.end <= end]
    return redact(Content.of(text[:end]), inside).content.text, bool(bombs.findings)


@given(cut_texts())
def test_r5_however_a_text_is_cut_the_same_leaves_and_nothing_flagged(
    case: tuple[str, list[str]],
) -> None:
    text, chunks = case
    out, last = outcome(stream(BOMBS, NAMES), chunks)
    assert (out, last.cut) == as_it_may_leave(text)
    assert last.decision is not None
    assert last.decision.action.stops == last.cut


@given(cut_texts(), st.sampled_from(["chunk", "word", "sentence"]))
def test_r5_guards_of_whole_texts_stop_alike_however_a_text_is_cut(
    case: tuple[str, list[str]], every: Any
) -> None:
    text, chunks = case
    judged = stream(BOMBS, NAMES, Mood(), settings=Streaming(every=every))
    whole, end = outcome(judged, [text])
    parts, last = outcome(judged, chunks)
    assert last.cut == end.cut
    assert as_it_may_leave(text)[0].startswith(parts)
    assert whole == parts or (last.cut and len(whole.split()) <= 2)


class Absent(Mood, frozen=True):
    """Leaves streams to others."""

    streamed: bool = False
    name: str = "absent"


@given(cut_texts())
def test_a_guard_that_leaves_streams_to_others_takes_no_part_in_them(
    case: tuple[str, list[str]],
) -> None:
    text, chunks = case
    assert outcome(stream(BOMBS, Absent()), chunks) == outcome(stream(BOMBS), chunks)
    [verdict] = run(Absent().check([Content.of("zzz " + text)]), local.send)
    assert verdict.findings


def test_a_stream_that_every_guard_leaves_to_others_was_not_judged() -> None:
    policy = Policy("p", RULES, demands=frozenset({"text"}))
    judged = Stream(Rail((Absent(),), policy, Stage.OUTPUT))
    out, last = outcome(judged, ["a ", "tale"])
    assert (out, last.cut) == ("", True)
    assert last.decision is not None
    assert last.decision.rule == "on_unjudged"


@given(st.lists(cut_texts(), min_size=1, max_size=5))
def test_streams_in_one_batch_fare_as_each_alone(cases: list[tuple[str, list[str]]]) -> None:
    judged = stream(BOMBS, NAMES, Mood())
    states = [judged.start(ASKED) for _ in cases]
    outs = [""] * len(cases)
    for number in range(max(len(chunks) for _, chunks in cases)):
        chunks = [c[number] if number < len(c) else "" for _, c in cases]
        stepped = run(judged.step(states, chunks), local.send)
        states = [state for state, _ in stepped]
        outs = [out + piece.text for out, (_, piece) in zip(outs, stepped, strict=True)]
    ended = run(judged.finish(states), local.send)
    for out, (_, piece), (_, chunks) in zip(outs, ended, cases, strict=True):
        alone, last = outcome(judged, chunks)
        assert (out + piece.text, piece.cut) == (alone, last.cut)


@given(cut_texts(), st.integers(0, 20))
def test_what_else_is_held_back_never_leaves_before_a_cut(
    case: tuple[str, list[str]], hold: int
) -> None:
    text, chunks = case
    out, last = outcome(stream(BOMBS, settings=Streaming(hold=hold)), chunks)
    free, is_cut = outcome(stream(BOMBS), [text])[0], last.cut
    assert out == (free[: max(0, len(free) - hold)] if is_cut else text)


@given(texts)
def test_r4_a_stream_is_cut_if_and_only_if_the_whole_answer_is_stopped(text: str) -> None:
    policy = Policy("p", RULES)
    rail = Rail((BOMBS, NAMES, Mood()), policy, Stage.OUTPUT)
    [decision] = run(rail.check([Content.of(text, Role.ASSISTANT)]), local.send)
    _, last = outcome(Stream(rail), [text])
    assert last.cut == decision.action.stops


def test_r3_ordinary_words_pass_at_once() -> None:
    judged = stream(BOMBS, NAMES)
    state = judged.start(ASKED)
    for chunk in ("Once", " upon", " some", " time"):
        [(state, piece)] = run(judged.step([state], [chunk]), local.send)
        assert piece.text == chunk


def test_r3_the_first_words_wait_for_no_place_of_judgement() -> None:
    judged = stream(BOMBS, Mood())
    [(_, piece)] = run(judged.step([judged.start(ASKED)], ["Onc"]), local.send)
    assert piece.text == "Onc"


def test_the_first_words_wait_if_they_are_flagged_as_they_stand() -> None:
    judged = stream(Mood(enough=1))
    [(_, piece)] = run(judged.step([judged.start(ASKED)], ["z"]), local.send)
    assert piece == Piece()


def test_r3_only_an_open_match_is_held_back() -> None:
    pieces = [p.text for p in release(stream(BOMBS), ASKED, ["see the", " bo", "x."], local.send)]
    assert pieces == ["see ", "the box.", ""]


def test_a_stream_is_cut_before_a_violation_that_arrives_in_two_chunks() -> None:
    sent = [*("word " * 40).split(" "), "bo", "mb", *("more " * 110).split(" ")]
    asked: list[str] = []

    def upstream() -> Any:
        for chunk in sent:
            asked.append(chunk)
            yield " " + chunk if chunk != "mb" else chunk

    pieces = list(release(stream(BOMBS), ASKED, upstream(), local.send))
    out = "".join(piece.text for piece in pieces)
    assert out.split() == ["word"] * 40
    assert len(asked) <= sent.index("mb") + 2


def test_a_stream_that_was_cut_stays_cut() -> None:
    judged = stream(BOMBS)
    [(state, piece)] = run(judged.step([judged.start(ASKED)], ["a bomb. "]), local.send)
    assert piece.cut
    for _ in range(2):
        [(state, piece)] = run(judged.step([state], ["all is well"]), local.send)
        assert (piece.text, piece.cut) == ("", True)
    [(_, piece)] = run(judged.finish([state]), local.send)
    assert piece.cut
    assert piece.decision is not None
    assert piece.decision.rule == "no-bombs"


def test_masks_are_placed_in_the_text_as_it_came() -> None:
    _, last = outcome(stream(NAMES), ["hi a", "nn, ", "and bo", "b!"])
    assert last.decision is not None
    assert [(m.span.start, m.span.end, m.placeholder) for m in last.decision.masks] == [
        (3, 6, "[NAME]"),
        (12, 15, "[NAME]"),
    ]


def test_r21_what_is_masked_reversibly_in_a_stream_can_be_turned_back() -> None:
    rail = Rail((NAMES,), Policy("p", RULES, redaction="reversible"), Stage.OUTPUT)
    vault = Vault()
    chunks = ["bob an", "d ann met bo", "b."]
    pieces = list(release(Stream(rail), ASKED, chunks, local.send, vault))
    out = "".join(piece.text for piece in pieces)
    assert out == "[NAME_1] and [NAME_2] met [NAME_1]."
    assert vault.unmask(out) == "bob and ann met bob."


def test_a_finding_without_a_place_that_is_to_be_masked_cuts_the_stream() -> None:
    rules = (Rule("mask-harm", "harm", action="redact"),)
    judged = Stream(Rail((Mood(),), Policy("p", rules), Stage.OUTPUT))
    out, last = outcome(judged, ["ok ", "so ", "far ", "zzz ", "and ", "on ", "goes ", "it"])
    assert last.cut
    assert "z" not in out


@pytest.mark.parametrize("on_error", list(OnError))
def test_r16_a_guard_that_fails_in_midstream_is_named(on_error: OnError) -> None:
    judged = stream(BOMBS, Mood(fault="doom"), on_error=on_error)
    chunks = ["all ", "is ", "well, ", "but ", "doom ", "is ", "near ", "us ", "all"]
    out, last = outcome(judged, chunks)
    assert last.decision is not None
    assert last.decision.failed == ("mood",)
    if on_error is OnError.BLOCK:
        assert (last.cut, last.decision.rule) == (True, "on_error")
        assert "doom" not in out
    else:
        assert (last.cut, out) == (False, "".join(chunks))


def test_r16_degraded_streams_stop_once_no_guard_is_left() -> None:
    judged = stream(Mood(fault="doom"), on_error=OnError.DEGRADE)
    _, last = outcome(judged, ["all is doom and more doom"])
    assert last.cut


def test_r16_a_guard_that_fails_for_one_stream_leaves_the_others_alone() -> None:
    judged = stream(Mood(fault="doom"))
    states = [judged.start(ASKED) for _ in range(3)]
    stepped = run(judged.step(states, ["fine so far", "doom is here", "fine too now"]), local.send)
    assert [piece.cut for _, piece in stepped] == [False, True, False]


def test_what_other_guards_find_still_stops_a_degraded_stream() -> None:
    judged = stream(BOMBS, Mood(fault="doom"), on_error=OnError.ALLOW)
    out, last = outcome(judged, ["so doom it is, then a bo", "mb, and more"])
    assert (out, last.cut) == ("so doom it is, then a ", True)


def test_a_stream_no_guard_can_judge_is_stopped_if_the_policy_demands_it() -> None:
    policy = Policy("p", demands=frozenset({"text"}))
    judged = Stream(Rail((), policy, Stage.OUTPUT))
    out, last = outcome(judged, ["anything"])
    assert last.decision is not None
    assert (out, last.cut, last.decision.rule) == ("", True, "on_unjudged")


def test_a_stage_without_guards_lets_all_pass() -> None:
    assert outcome(Stream(Rail((), Policy("p"), Stage.OUTPUT)), ["any", "thing"])[0] == "anything"


@pytest.mark.parametrize("token", [" word", "word", "你"])
def test_r22_a_long_stream_keeps_little(token: str) -> None:
    judged = stream(BOMBS, NAMES, Mood(), settings=Streaming(window=500))
    state = judged.start(ASKED)
    for _ in range(500):
        [(state, _)] = run(judged.step([state], [token * 100]), local.send)
        kept = len(state.text) + sum(len(s.text) for s in (*state.near, *state.far))
        assert kept < 20_000


def test_r6_a_hundred_streams_at_once_do_not_mix() -> None:
    judged = stream(BOMBS, NAMES, Mood())
    backend = Local(4)

    async def chunks(number: int) -> AsyncIterator[str]:
        for word in (f"n{number} ", "said ", "ann ", "bomb " if number % 2 else "box ", "end"):
            await asyncio.sleep(0)
            yield word

    async def one(number: int) -> str:
        pieces = arelease(judged, ASKED, chunks(number), backend.asend)
        return "".join([piece.text async for piece in pieces])

    async def all_() -> list[str]:
        return await asyncio.gather(*map(one, range(100)))

    outs = asyncio.run(all_())
    backend.close()
    for number, out in enumerate(outs):
        end = "" if number % 2 else "box end"
        assert out == f"n{number} said [NAME] {end}"


def test_sync_and_async_streams_agree() -> None:
    judged = stream(BOMBS, NAMES, Mood())
    backend = Local(2)

    async def stepped() -> Piece:
        [(_, piece)] = await arun(
            judged.step([judged.start(ASKED)], ["ann, a bomb."]), backend.asend
        )
        return piece

    there = asyncio.run(stepped())
    backend.close()
    [(_, here)] = run(judged.step([judged.start(ASKED)], ["ann, a bomb."]), local.send)
    assert there == here


def test_the_decision_says_what_the_stage_decided() -> None:
    _, last = outcome(stream(BOMBS), ["a bomb here"])
    assert last.decision is not None
    assert (last.decision.action, last.decision.stage) == (Action.BLOCK, "output")

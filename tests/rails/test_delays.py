"""Whatever comes late: no word leaves ahead of its verdict, and the text alone decides."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import cycle, pairwise
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import Advance, Advanced, Call, Failed, Heard, Onward, Reply, is_light
from balustrade.core.content import Content, Stage
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.flow.merge import Merge
from balustrade.flow.run import run
from balustrade.guards.keywords import Keywords
from balustrade.guards.scm import Scm
from balustrade.policy.model import Policy, Rule
from balustrade.rails.rail import Rail
from balustrade.rails.release import arelease, release
from balustrade.rails.stream import Stream
from balustrade.text.growing import every, whole

SCORES = {"bad": 0.9, "worse": 0.95, "sly": 0.7}
RULES = (Rule("early", RESPONSE_HARM, threshold=0.8, guard="scm"), Rule("word", "word"))
NEAR = Keywords(words=("sly word",), category="word")
STREAM = Stream(
    Rail((NEAR, Scm(model="m", hits=2, words=4)), Policy("p", RULES), Stage.OUTPUT), None
)

texts = st.lists(
    st.sampled_from(["a", "calm", "bad", "worse", "sly", "word", "sly word", "😀", "悪い", "\n"]),
    max_size=24,
).map(" ".join)


class Model:
    """Scores words by a list, keeps up to where each stream was read, and may die."""

    def __init__(self, lives: int = -1) -> None:
        self.read: dict[str, int] = {}
        """Of each stream, by its request: the characters that a verdict was given on."""
        self._lives = lives

    def send(self, calls: Sequence[Call]) -> list[Reply]:
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Advance):
            [reply] = local.send((call,))
            return reply
        if self._lives == 0:
            return Failed("gone")
        self._lives -= 1
        each = zip(call.states, call.chunks, strict=True)
        return Onward(tuple(self._onward(s, c, ends=call.ends) for s, c in each))

    def _onward(self, state: Any, chunk: str, *, ends: bool) -> Advanced:
        name, start, rest = (state, 0, "") if isinstance(state, str) else state
        text = rest + chunk
        words = every(text) if ends else whole(text)
        cut = words[-1].end if words else 0
        rest = text[cut:].lstrip()
        at = start + len(text) - len(rest)
        self.read[name] = max(self.read.get(name, 0), start + len(text) if ends else at)
        heard = tuple(Heard(start + w.start, start + w.end, SCORES.get(w.text, 0.0)) for w in words)
        return Advanced((name, at, rest), heard, at)


class Told(NamedTuple):
    text: str
    cut: bool
    rule: str


class Case(NamedTuple):
    text: str
    chunks: list[str]
    waits: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=30)))
    chunks = [text[a:b] for a, b in pairwise([0, *places, len(text)])]
    return Case(text, chunks, draw(st.lists(st.integers(0, 5), min_size=1, max_size=9)))


async def pause(waits: Iterator[int]) -> None:
    for _ in range(next(waits)):
        await asyncio.sleep(0)


async def together(cases: Sequence[Case], model: Model, waits: Sequence[int]) -> list[Told]:
    """Run streams side by side over one merged, tardy model; look at each piece as it leaves."""
    slow = cycle(waits)

    async def answer(calls: tuple[Call, ...]) -> Sequence[Reply]:
        await pause(slow)
        replies = model.send(calls)
        await pause(slow)
        return replies

    merged = Merge(answer)

    async def send(calls: tuple[Call, ...]) -> Sequence[Reply]:
        return local.send(calls) if all(map(is_light, calls)) else await merged(calls)

    async def one(number: int, case: Case) -> Told:
        async def source() -> AsyncIterator[str]:
            late = cycle(case.waits)
            for chunk in case.chunks:
                await pause(late)
                yield chunk

        said, piece = "", None
        async for piece in arelease(STREAM, Content.of(str(number)), source(), send):
            said += piece.text
            assert len(said) <= model.read.get(str(number), 0)
        assert piece is not None
        assert piece.decision is not None
        return Told(said, piece.cut, piece.decision.rule)

    return await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))


def by_the_word(text: str) -> Told:
    """What a text comes to that is given word by word, without delay."""
    words = re.findall(r"\s*\S+|\s+", text)
    pieces = list(release(STREAM, Content.of("0"), words, Model().send))
    decision = pieces[-1].decision
    assert decision is not None
    return Told("".join(piece.text for piece in pieces), pieces[-1].cut, decision.rule)


def same(told: Told, other: Told) -> bool:
    """Whether two ways came to the same end.

    Of a text that is cut, words that came in one chunk with the last may stay behind, and some of
    the first word, which may leave before that is whole, may be all that left.
    """
    if told[1:] != other[1:] or not told.cut:
        return told == other
    return other.text.startswith(told.text) or len(told.text.split()) <= 1


@settings(deadline=None, max_examples=150)
@given(st.lists(cases(), min_size=1, max_size=4), st.lists(st.integers(0, 5), min_size=1))
@example([Case("", [""], [0]), Case("bad a calm bad", ["bad a calm bad"], [0])], [0])
def test_no_word_leaves_ahead_of_its_verdict_and_the_text_alone_decides(
    streams: list[Case], waits: list[int]
) -> None:
    ends = asyncio.run(together(streams, Model(), waits))
    for case, told in zip(streams, ends, strict=True):
        assert same(told, by_the_word(case.text))
        assert case.text.startswith(told.text)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(cases(), min_size=1, max_size=4),
    st.lists(st.integers(0, 5), min_size=1),
    st.integers(0, 6),
)
def test_a_model_that_dies_ends_each_stream_where_it_was_judged(
    streams: list[Case], waits: list[int], lives: int
) -> None:
    for case, told in zip(
        streams, asyncio.run(together(streams, Model(lives), waits)), strict=True
    ):
        assert case.text.startswith(told.text)
        assert told.cut or told == by_the_word(case.text)


def test_a_model_that_dies_where_another_guard_stops_lets_nothing_by() -> None:
    pieces = list(release(STREAM, Content.of("0"), ["a sly word a"], Model(lives=0).send))
    assert [(piece.text, piece.cut) for piece in pieces] == [("", True)]


def test_what_is_kept_of_a_stream_does_not_grow_with_it() -> None:
    model, state, sizes = Model(), STREAM.start(Content.of("0")), []
    for number in range(4_000):
        [(state, piece)] = run(
            STREAM.step([state], [" sly" if number % 9 else " calm"]), model.send
        )
        assert not piece.cut
        if number in {400, 3_999}:
            sizes.append(len(repr(state)))
    assert sizes[1] <= sizes[0] + 40


def test_words_that_wait_do_not_leave_ahead_of_their_place_of_judgement() -> None:
    stream = Stream(Rail((Scm(model="m", hits=2, words=4),), Policy("p", RULES[:1]), Stage.OUTPUT))
    for text, left in (("bad a", ""), ("ba", "ba"), ("calm a", "calm ")):
        [(_, piece)] = run(stream.step([stream.start(Content.of("0"))], [text]), Model().send)
        assert piece.text == left

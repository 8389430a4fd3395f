from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import (
    Call,
    Compute,
    Failed,
    Flow,
    Generate,
    Reply,
    Texts,
    compute,
    generate,
)
from balustrade.core.errors import BackendError, GuardError, VerificationError
from balustrade.flow.gather import gather
from balustrade.flow.isolate import isolate
from balustrade.flow.replay import Round, recorded, replay
from balustrade.flow.run import arun, run


def shout(calls: tuple[Call, ...]) -> list[Reply]:
    return [
        Texts(tuple(p.upper() for p in call.prompts)) if isinstance(call, Generate) else Failed("?")
        for call in calls
    ]


async def ashout(calls: tuple[Call, ...]) -> Sequence[Reply]:
    await asyncio.sleep(0)
    return shout(calls)


def talk(words: Sequence[str]) -> Flow[str]:
    """Say each word, one round each; a word that is `raise` breaks off."""
    said: list[str] = []
    for word in words:
        if word == "raise":
            raise RuntimeError("no more")
        said += (yield from generate("m", [word])).texts
    return " ".join(said)


words = st.lists(st.sampled_from(["a", "b", "c", "raise"]), max_size=5)


def result(said: str | GuardError) -> str:
    return f"failed: {said}" if isinstance(said, GuardError) else said


def expected(said: list[str]) -> str:
    return "failed: raised RuntimeError" if "raise" in said else " ".join(said).upper()


@given(st.lists(st.sampled_from("abc"), max_size=5))
def test_sync_async_and_replayed_runs_agree(said: list[str]) -> None:
    tape: list[Round] = []
    here = run(recorded(talk(said), tape), shout)
    assert asyncio.run(arun(talk(said), ashout)) == here
    assert replay(talk(said), tape) == here == " ".join(said).upper()


@given(st.lists(words, max_size=5))
def test_flows_side_by_side_end_as_each_alone(all_said: list[list[str]]) -> None:
    results = run(gather([talk(said) for said in all_said]), shout)
    assert [result(r) for r in results] == [expected(said) for said in all_said]


def test_flows_side_by_side_share_their_rounds() -> None:
    sizes: list[int] = []

    def send(calls: tuple[Call, ...]) -> list[Reply]:
        sizes.append(len(calls))
        return shout(calls)

    run(gather([talk("ab"), talk("abc"), talk("")]), send)
    assert sizes == [2, 2, 1]


def test_a_backend_that_gives_too_few_replies_is_named() -> None:
    with pytest.raises(BackendError, match="a backend gave 0 replies for 1 calls"):
        run(talk("a"), lambda _calls: [])


def checked(batch: Sequence[str]) -> Flow[list[str]]:
    texts = yield from generate("m", batch)
    if "poison" in batch:
        raise RuntimeError("the text is secret")
    return list(texts.texts[:1]) if "short" in batch else list(texts.texts)


@given(st.lists(st.sampled_from(["a", "b", "poison"]), min_size=1, max_size=16))
def test_only_what_fails_alone_fails(batch: list[str]) -> None:
    results = run(isolate(checked, batch), shout)
    for item, answer in zip(batch, results, strict=True):
        if item == "poison":
            assert isinstance(answer, GuardError)
            assert "secret" not in str(answer)
        else:
            assert answer == item.upper()


def test_too_few_answers_are_a_failure_until_it_is_known_whose() -> None:
    assert run(isolate(checked, ["a", "short", "b"]), shout) == ["A", "SHORT", "B"]


@given(st.integers(1, 64))
def test_isolation_costs_one_check_where_nothing_fails(size: int) -> None:
    rounds: list[int] = []

    def send(calls: tuple[Call, ...]) -> list[Reply]:
        rounds.append(1)
        return shout(calls)

    run(isolate(checked, ["a"] * size), send)
    assert rounds == [1]


def test_a_flow_that_asks_something_else_is_not_replayed() -> None:
    tape: list[Round] = []
    run(recorded(talk("ab"), tape), shout)
    with pytest.raises(
        VerificationError, match=r"round 1: asked [0-9a-f]{12}, the recording holds"
    ):
        replay(talk("ac"), tape)
    with pytest.raises(VerificationError, match="round 2: the recording has only 2 rounds"):
        replay(talk("abc"), tape)


def test_computations_are_done_again_on_replay() -> None:
    measured: list[str] = []

    def measure(text: str) -> int:
        measured.append(text)
        return len(text)

    def flow() -> Flow[int]:
        texts = yield from generate("m", ["abc"])
        return (yield from compute(measure, texts.texts[0]))

    def send(calls: tuple[Call, ...]) -> Sequence[Reply]:
        return local.send(calls) if isinstance(calls[0], Compute) else shout(calls)

    tape: list[Round] = []
    assert run(recorded(flow(), tape), send) == 3
    assert [reply for round_ in tape for reply in round_.replies] == [Texts(("ABC",))]
    assert replay(flow(), tape) == 3
    assert measured == ["ABC", "ABC"]

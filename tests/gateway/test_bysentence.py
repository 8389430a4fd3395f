"""A rule of `regenerate` and answers that leave by the sentence: what was sent stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from math import comb
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from balustrade.core.content import Content
from balustrade.gateway.bysentence import BySentence, added
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import HttpError, Request
from balustrade.gateway.settings import AuditSpec, Settings
from balustrade.gateway.state import State
from balustrade.gateway.wire import Tree

POLICY = """
name = "by-sentence"

[regeneration]
rounds = 3
buffer = "sentence"

[[stage.output.guards]]
use = "keywords"
words = ["nasty thing"]
category = "rudeness"

[[stage.output.guards]]
use = "keywords"
words = ["bomb"]
category = "weapons"
name = "weapons"

[[stage.output.rules]]
name = "no-rudeness"
category = "rudeness"
action = "regenerate"

[[stage.output.rules]]
name = "no-weapons"
category = "weapons"

[[stage.tool.guards]]
use = "keywords"
words = ["rm -rf"]
category = "rudeness"

[[stage.tool.rules]]
name = "no-deletion"
category = "rudeness"
action = "regenerate"
"""
REFUSED = "I'm sorry, but I can't help with that."
DONE = b"data: [DONE]\n\n"
MESSAGES = [{"role": "user", "content": "Tell me."}]


def event(data: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(data).encode()


def chunk(delta: dict[str, Any], why: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": why}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


def spoken(text: str, why: str = "stop") -> list[bytes]:
    words = [chunk({"content": word}) for word in text.replace(" ", " \0").split("\0")]
    return [chunk({"role": "assistant", "content": ""}), *words, chunk({}, why), DONE]


class Upstream:
    """Drafts to be given one after the other; remembers what was asked and what was cancelled."""

    def __init__(self, drafts: Sequence[list[bytes] | HttpError]) -> None:
        self.drafts = list(drafts)
        self.asked: list[Tree] = []
        self.ends: list[str] = []

    async def ask(self, tree: Tree) -> AsyncGenerator[bytes, None]:
        self.asked.append(tree)
        draft = self.drafts.pop(0)
        if isinstance(draft, HttpError):
            raise draft
        return self._pieces(draft)

    async def _pieces(self, draft: list[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            for piece in draft:
                await asyncio.sleep(0)
                yield piece
            self.ends.append("whole")
        except GeneratorExit:
            self.ends.append("cancelled")
            raise

    @property
    def told(self) -> list[list[dict[str, Any]]]:
        """What was added to the conversation, each time."""
        return [body["messages"][1:] for body in self.asked]


class Told:
    """What a client is told."""

    def __init__(self, out: list[bytes]) -> None:
        self.pieces = out
        lines = [line for line in b"".join(out).split(b"\n\n") if line]
        assert lines[-1] == b"data: [DONE]" or b'"error"' in lines[-1]
        self.events = [json.loads(line[6:]) for line in lines if line != b"data: [DONE]"]
        choices = [choice for each in self.events for choice in each.get("choices", ())]
        self.text = "".join(choice["delta"].get("content") or "" for choice in choices)
        self.ends = [c["finish_reason"] for c in choices if c["finish_reason"]]
        self.roles = [c["delta"]["role"] for c in choices if "role" in c["delta"]]
        self.usage = [each["usage"] for each in self.events if each.get("usage")]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return made(tmp_path, POLICY)


def made(folder: Path, policy: str) -> State:
    path = folder / "policy.toml"
    path.write_text(policy)
    return State(Settings(policy=str(path), audit=AuditSpec(path=str(folder / "log.db")), reload=0))


async def heard(state: State, upstream: Upstream, most: int = 10**9) -> Told:
    """Ask, and read up to `most` pieces."""
    exchange = Exchange(state, Request("POST", "/v1/chat/completions"), "m")
    tree = {"model": "m", "messages": MESSAGES, "stream": True}
    stream = BySentence(exchange, [Content.of("Tell me.")], upstream.ask, tree)
    out: list[bytes] = []
    pieces = stream.run(await upstream.ask(tree))
    async for piece in pieces:
        out.append(piece)
        if len(out) >= most:
            break
    await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
    return Told(out if most > len(out) else [*out, DONE])


def play(state: State, *drafts: list[bytes] | HttpError) -> tuple[Told, Upstream]:
    upstream = Upstream(drafts)
    return asyncio.run(heard(state, upstream)), upstream


def test_the_sentences_that_were_sent_stay_and_the_rest_is_written_anew(state: State) -> None:
    told, upstream = play(
        state,
        spoken("The moon pulls the sea. You nasty thing. More of it."),
        spoken("Twice a day it rises. You are a nasty thing."),
        spoken("It falls as often.", "length"),
    )
    assert told.text == "The moon pulls the sea. Twice a day it rises. It falls as often."
    assert told.ends == ["length"]
    assert told.roles == ["assistant"]
    assert upstream.ends[:2] == ["cancelled", "cancelled"]
    first, second, third = upstream.told
    assert first == []
    assert second[0] == {"role": "assistant", "content": "The moon pulls the sea."}
    assert third[0]["content"] == "The moon pulls the sea. Twice a day it rises."
    for note in (second[1], third[1]):
        assert note["role"] == "system"
        assert "rudeness" in note["content"]
    assert "nasty" not in json.dumps([told.events, upstream.asked])
    assert told.events[-1]["balustrade"]["action"] == "allow"


def test_a_sentence_leaves_before_the_next_is_whole(state: State) -> None:
    upstream = Upstream([spoken("The moon pulls the sea. It does so twice a day.")])
    told = asyncio.run(heard(state, upstream, most=2))
    assert told.text == "The moon pulls the sea."
    assert upstream.ends == ["cancelled"]


def test_where_nothing_was_sent_the_answer_is_asked_for_again_whole(state: State) -> None:
    told, upstream = play(state, spoken("You nasty thing."), spoken("Good day."))
    assert told.text == "Good day."
    [note] = upstream.told[1]
    assert note["role"] == "system"
    assert "A draft of your answer was held back" in note["content"]


def test_after_the_last_round_the_answer_ends_as_a_refusal_does(state: State) -> None:
    bad = spoken("You nasty thing.")
    told, upstream = play(state, spoken("It pulls. A nasty thing."), bad, bad, spoken("never"))
    assert (told.text, told.ends) == ("It pulls.", ["content_filter"])
    assert len(upstream.asked) == 3
    assert told.events[-1]["balustrade"]["rule"] == "no-rudeness"
    told, _ = play(state, bad, bad, bad)
    assert (told.text, told.ends) == (REFUSED, ["content_filter"])


def test_what_is_blocked_is_not_asked_for_again(state: State) -> None:
    told, upstream = play(state, spoken("It pulls. A bomb, nasty thing. Yes."), spoken("never"))
    assert (told.text, told.ends) == ("It pulls.", ["content_filter"])
    assert len(upstream.asked) == 1
    assert upstream.ends == ["cancelled"]


@pytest.mark.parametrize(
    "again",
    [
        "The moon pulls the sea. It rises.",
        "The moon  pulls\nthe sea. It rises.",
        " It rises.",
        "It rises.",
    ],
)
def test_a_beginning_that_the_model_repeats_is_said_once(state: State, again: str) -> None:
    told, _ = play(state, spoken("The moon pulls the sea. A nasty thing."), spoken(again))
    assert told.text == "The moon pulls the sea. It rises."


def test_a_model_that_fails_the_second_time_leaves_what_was_sent(state: State) -> None:
    told, _ = play(state, spoken("It pulls. A nasty thing."), HttpError(502, "gone"))
    assert (told.text, told.ends) == ("It pulls.", ["content_filter"])


def test_a_stream_that_breaks_in_a_later_round_ends_with_an_error(state: State) -> None:
    told, _ = play(state, spoken("It pulls. A nasty thing."), spoken("It rises. Th")[:3])
    assert "error" in told.events[-1]
    assert told.text == "It pulls. It rises."


def test_a_tool_call_is_asked_for_again_but_nothing_once_one_has_left(state: State) -> None:
    def call(arguments: str, index: int = 0) -> bytes:
        function = {"name": "sh", "arguments": arguments}
        return chunk({"tool_calls": [{"index": index, "id": "1", "function": function}]})

    end = [chunk({}, "tool_calls"), DONE]
    told, upstream = play(
        state, [*spoken("Wait. ")[:-2], call('"rm -rf"'), *end], [call('"ls"'), *end]
    )
    assert told.ends == ["tool_calls"]
    assert len(upstream.asked) == 2
    assert b"rm -rf" not in b"".join(told.pieces)
    told, upstream = play(state, [call('"ls"'), call('"rm -rf"', 1), *end], spoken("never"))
    assert told.ends == ["content_filter"]
    assert len(upstream.asked) == 1


def test_usage_is_of_all_drafts_as_far_as_it_was_told(state: State) -> None:
    def usage(tokens: int) -> dict[str, Any]:
        return {"completion_tokens": tokens, "details": {"cached": 1}}

    first = [chunk({"content": "It pulls. A nasty thing. "}, usage=usage(7))]
    tail = event({"id": "d", "choices": [], "usage": usage(3)})
    told, _ = play(state, first, [*spoken("It rises.")[:-1], tail, DONE])
    assert told.usage[-1] == {"completion_tokens": 10, "details": {"cached": 2}}
    assert {each["id"] for each in told.events} == {"c"}
    assert added({"a": 1}, {"a": "x", "b": None}) == {"a": "x", "b": None}


def test_a_client_that_leaves_between_two_drafts_cancels_what_runs(state: State) -> None:
    drafts = [spoken("It pulls. A nasty thing. "), spoken("It rises. It falls. It rests.")]
    upstream = Upstream(drafts)
    told = asyncio.run(heard(state, upstream, most=3))
    assert told.text.startswith("It pulls.")
    assert upstream.ends == ["cancelled", "cancelled"]


def test_over_http_and_with_several_alternatives_whole(
    gateway: Callable[..., str], script: Any
) -> None:
    drafts = ["It pulls. A nasty thing. More.", "It rises."]
    script.answer = lambda _p, _b: spoken(drafts.pop(0))
    url = gateway(POLICY)
    body = {"model": "m", "messages": MESSAGES, "stream": True}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20)
    lines = [x[6:] for x in reply.text.splitlines() if x.startswith("data: ") and "[DONE]" not in x]
    deltas = [choice["delta"] for x in lines for choice in json.loads(x)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It pulls. It rises."
    assert all(asked["stream"] for _, asked in script.asked)
    choice = {"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    choices = [{"index": n, **choice} for n in range(2)]
    script.answer = lambda _p, _b: {"id": "c", "created": 1, "model": "m", "choices": choices}
    httpx.post(f"{url}/v1/chat/completions", json={**body, "n": 2}, timeout=20)
    assert "stream" not in script.last


def test_the_share_that_is_delivered_whole_is_the_closed_form(state: State) -> None:
    rng, chance, sentences, count = Random(5), 0.7, 3, 400
    ends: list[int] = []

    class Chancy(Upstream):
        async def ask(self, tree: Tree) -> AsyncGenerator[bytes, None]:
            begun = [m["content"] for m in tree["messages"] if m["role"] == "assistant"]
            left = sentences - sum(text.count(".") for text in begun)
            said = [
                "It is fine." if rng.random() < chance else "A nasty thing." for _ in range(left)
            ]
            self.drafts = [spoken(" ".join(said))]
            return await super().ask(tree)

    async def all_of_them() -> None:
        for _ in range(count):
            upstream = Chancy([])
            told = await heard(state, upstream)
            ends.append(len(upstream.asked) if told.ends == ["stop"] else 0)

    asyncio.run(all_of_them())
    for rounds in (1, 2, 3):
        passed = sum(0 < end <= rounds for end in ends) / count
        failures = range(rounds)
        share = sum(comb(sentences - 1 + f, f) * (1 - chance) ** f for f in failures)
        assert passed == pytest.approx(chance**sentences * share, abs=4 * 0.5 / count**0.5)

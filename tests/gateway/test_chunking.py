"""However an answer is cut into pieces, the same words leave and the same is decided."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balustrade.core.content import Content, Role
from balustrade.flow.run import run
from balustrade.gateway.chatstream import ChatStream
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Request
from balustrade.gateway.settings import AuditSpec, Settings
from balustrade.gateway.state import State
from balustrade.policy.vault import Vault

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = st.lists(
    st.sampled_from(
        [
            "a",
            "nasty",
            "thing",
            "nasty thing",
            " ",
            "\n",
            "é",
            "😀",
            "[EMAIL_1]",
            "[EMAIL_",
            "2]",
            ".",
        ]
    ),
    max_size=12,
).map("".join)


@pytest.fixture
def state(tmp_path: Path, masking: str) -> Iterator[State]:
    path = tmp_path / "policy.toml"
    path.write_text(masking)
    audit = AuditSpec(path=str(tmp_path / "log.db"))
    made = State(Settings(policy=str(path), audit=audit, reload=0))
    yield made
    asyncio.run(made.close())


async def outcome(state: State, pieces: list[bytes]) -> tuple[str, dict[str, Any]]:
    """Return the words that left, and the last choice with what was told of its decision."""
    exchange = Exchange(state, Request("POST", "/v1/chat/completions"), "m")
    flow = exchange.pipeline.request([Content.of("I am ann@example.org")], exchange.vault)
    asked = await exchange.judge(flow)
    seen = [Content((asked.changes[0].part,), Role.USER)]

    async def upstream() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    stream = ChatStream(exchange, seen, 1)
    data = b"".join([chunk async for chunk in stream.run(upstream())])
    assert data.endswith(b"data: [DONE]\n\n")
    events = [json.loads(e[6:]) for e in data.decode().split("\n\n") if e.startswith("data: {")]
    choices = [event["choices"][0] for event in events]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    told = {k: v for k, v in events[-1]["balustrade"].items() if k != "decision"}
    return text, {"end": choices[-1]["finish_reason"], **told}


def events(parts: list[str]) -> bytes:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    chunks = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in parts]
    lines = [json.dumps(chunk, ensure_ascii=False) for chunk in (*chunks, last)]
    return b"".join(f"data: {line}\n\n".encode() for line in lines) + b"data: [DONE]\n\n"


def cut(whole: Any, places: list[int]) -> list[Any]:
    ends = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[a:b] for a, b in itertools.pairwise(ends)] or [whole]


@SETTINGS
@given(
    text=TEXTS,
    deltas=st.lists(st.integers(0, 200), max_size=10),
    pieces=st.lists(st.integers(0, 5000), max_size=10),
)
def test_r5_neither_chunks_nor_packets_change_what_leaves(
    state: State, text: str, deltas: list[int], pieces: list[int]
) -> None:
    whole, told = asyncio.run(outcome(state, [events([text])]))
    again, told_again = asyncio.run(outcome(state, cut(events(cut(text, deltas)), pieces)))

    assert (again, told_again) == (whole, told)
    bad = re.search(r"(?<!\w)nasty thing(?!\w)", text)
    assert (told["end"] == "content_filter") == bool(bad)
    expected = text[: bad.start()] if bad else text
    assert whole == expected.replace("[EMAIL_1]", "ann@example.org")


@SETTINGS
@given(st.text(max_size=60))
def test_r4_a_stream_decides_as_the_whole_answer_would(state: State, text: str) -> None:
    _, told = asyncio.run(outcome(state, [events([text])]))
    pipeline = Exchange(state, Request("POST", "/"), "m").pipeline
    answer = Content.of(text, Role.ASSISTANT)

    [plain] = run(pipeline.answers([Content.of("hi")], [answer], Vault()), state.route.send)

    decision = plain.gravest
    assert decision is not None
    assert (told["action"], told["rule"]) == (decision.action.word, decision.rule)

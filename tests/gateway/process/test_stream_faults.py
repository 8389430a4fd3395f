"""What may befall a stream: monitors that fail, answers without end, chunks of every size."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # has no types here
import pytest

PATH = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
BEFORE = "one two three four five "
MONITOR = """
import time

from balustrade.core.guard import Latency
from balustrade.core.verdict import Verdict


class Live:
    name = "live"
    judges = frozenset({"text"})
    latency = Latency.MICROSECONDS
    hold = 0

    def __init__(self, how: str) -> None:
        self.how = how

    def check(self, batch):
        return [Verdict(self.name) for _ in batch]
        yield

    def start(self, content):
        return 0

    def step(self, states, chunks):
        if self.how == "late":
            time.sleep(0.02)
        if any("trigger" in chunk for chunk in chunks):
            if self.how == "slow":
                time.sleep(3)
            if self.how == "dies":
                raise RuntimeError("secret words of the content")
        return [(state + len(chunk), Verdict(self.name)) for state, chunk in zip(states, chunks)]
        yield

    def held(self, state):
        return 0

    def finish(self, states):
        return [Verdict(self.name) for _ in states]
        yield
"""
LIVE = """
name = "live"
timeout = 0.5

[[stage.output.guards]]
use = "live_monitor:Live"
how = "{how}"

[[stage.output.rules]]
name = "any"
category = "*"
"""
WATCHED = """
name = "watched"

[[stage.output.guards]]
use = "scm"

[[stage.output.guards]]
use = "patterns"
entities = ["card"]

[[stage.output.rules]]
name = "harm"
category = "response-harm"
action = "flag"

[[stage.output.rules]]
name = "no-cards"
category = "card"
"""


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def words(text: str) -> list[Any]:
    return [chunk(f"{word} ") for word in text.split()]


def endless() -> Iterator[Any]:
    return itertools.cycle(words("the river runs past old mills and quiet gardens"))


def served(serve: Callable[..., Any], script: Any, policy: str, settings: str = "") -> Any:
    def placed() -> None:
        Path("live_monitor.py").write_text(MONITOR)

    if settings:
        settings = f'[[upstreams]]\nname = "script"\nurl = "{script.url}/v1"\n{settings}\n'
    return serve(settings, policy=policy, upstream=f"{script.url}/v1", preexec_fn=placed)


def streamed(gateway: Any) -> tuple[str, list[Any]]:
    """What a client is told: the words that arrived, and the events."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(gateway.url + PATH, json=body, timeout=120)
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines, answer.text[:300]
    events = [line if line == "[DONE]" else json.loads(line) for line in lines]
    choices = [e["choices"][0] for e in events if isinstance(e, dict) and e.get("choices")]
    return "".join(choice["delta"].get("content") or "" for choice in choices), events


def resident(gateway: Any) -> float:
    """Megabytes that the gateway's process has in memory."""
    return float(psutil.Process(gateway.process.pid).memory_info().rss) / 1e6


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("how", "why"), [("slow", "did not answer within 0.5 s"), ("dies", "raised RuntimeError")]
)
def test_a_monitor_that_hangs_or_dies_ends_the_stream_before_what_it_did_not_judge(
    serve: Callable[..., Any], script: Any, how: str, why: str
) -> None:
    gateway = served(serve, script, LIVE.format(how=how))
    script.delay = 0.01
    script.answer = lambda _p, _b: itertools.chain(words(BEFORE + "trigger"), endless())

    said, events = streamed(gateway)

    assert BEFORE.startswith(said)
    assert events[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert events[-2]["balustrade"]["rule"] == "on_error"
    record = gateway.get(f"/v1/decisions/{events[-2]['balustrade']['decision']}").json()
    [verdict] = record["verdicts"]
    assert (verdict["guard"], record["failed"]) == ("live", ["live"])
    assert why in verdict["error"]
    until(lambda: bool(script.cancelled))
    assert (script.cancelled, len(script.asked)) == (1, 1)
    script.answer = lambda _p, _b: [*words("all is well"), END, DONE]
    assert streamed(gateway)[0] == "all is well "
    assert "Traceback" not in gateway.said()


def test_a_monitor_slower_than_the_model_is_waited_for(
    serve: Callable[..., Any], script: Any
) -> None:
    gateway = served(serve, script, LIVE.format(how="late"))
    text = "word " * 2_000
    script.answer = lambda _p, _b: [*words(text), END, DONE]

    said, events = streamed(gateway)

    assert said == text
    assert events[-1] == "[DONE]"


def test_bytes_that_come_one_by_one_are_put_together(
    serve: Callable[..., Any], script: Any
) -> None:
    gateway = served(serve, script, WATCHED)
    text = "Grüße, 世界! 👩‍👩‍👧 waves 🇵🇹, and so on. " * 3
    deltas = [json.dumps(chunk(letter), ensure_ascii=False) for letter in text]
    raw = "".join(f"data: {delta}\n\n" for delta in deltas).encode()
    last = b"data: %s\n\n" % json.dumps(END).encode() + DONE
    script.answer = lambda _p, _b: [bytes([byte]) for byte in raw[:10_000]] + [raw[10_000:] + last]

    said, events = streamed(gateway)

    assert len(raw) > 10_000
    assert said == text
    assert events[-1] == "[DONE]"


def test_half_an_emoji_ends_a_stream_with_an_error(serve: Callable[..., Any], script: Any) -> None:
    gateway = served(serve, script, WATCHED)
    halves = [chunk("\ud83d"), chunk("\ude00")]
    script.answer = lambda _p, _b: [*words(BEFORE), *halves, *words("more"), END, DONE]

    said, events = streamed(gateway)

    assert BEFORE.startswith(said)
    assert events[-1]["error"]["type"] == "upstream_error"


@pytest.mark.parametrize(
    ("bound", "why"),
    [
        ("timeouts.total = 1.0", "did not finish its answer in time"),
        ("max_answer_mb = 0.05", "sent more than 50000 bytes"),
    ],
)
def test_a_stream_that_never_ends_is_ended(
    serve: Callable[..., Any], script: Any, bound: str, why: str
) -> None:
    gateway = served(serve, script, WATCHED, bound)
    script.answer = lambda _p, _b: endless()
    script.delay = 0.002

    said, events = streamed(gateway)

    assert said.startswith("the river runs past")
    assert why in events[-1]["error"]["message"]
    assert "[DONE]" not in events
    until(lambda: bool(script.cancelled))
    assert (script.cancelled, len(script.asked)) == (1, 1)
    records = gateway.get("/v1/decisions").json()["data"]
    assert {record["stage"] for record in records} == {"input", "output"}


@pytest.mark.slow
def test_fifty_thousand_words_pass_in_bounded_memory(
    serve: Callable[..., Any], script: Any
) -> None:
    gateway = served(serve, script, WATCHED)
    text = "the river runs past old mills " * 10
    script.answer = lambda _p, _b: [*words(text), END, DONE]
    streamed(gateway)
    before = resident(gateway)
    text = "the river runs past old mills and quiet gardens where " * 5_000
    answer = [*words(text), END, DONE]  # made beforehand: upstream must say something each second
    script.answer = lambda _p, _b: answer

    said, events = streamed(gateway)

    assert said == text
    assert events[-1] == "[DONE]"
    assert resident(gateway) - before < 30


@pytest.mark.slow
def test_a_client_that_reads_one_byte_a_second_holds_the_upstream_back(
    serve: Callable[..., Any], script: Any
) -> None:
    gateway = served(serve, script, WATCHED)
    words_ = [chunk("river " * 1_000)] * 50_000
    script.answer = lambda _p, _b: iter(words_)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    data = json.dumps(body).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(head + data)
        sizes: list[tuple[int, float]] = []
        # What lies between takes in some megabytes first, as fast as they are judged.
        while len(sizes) < 4 or sizes[-1][0] != sizes[-4][0]:
            assert len(sizes) < 30, sizes
            client.recv(1)
            time.sleep(1)
            sizes.append((script.sent, resident(gateway)))
        assert sizes[-1][0] < len(words_)
        assert sizes[-1][1] - sizes[0][1] < 30
        assert gateway.get("/healthz").status_code == 200
    until(lambda: bool(script.cancelled))
    assert (script.cancelled, len(script.asked)) == (1, 1)

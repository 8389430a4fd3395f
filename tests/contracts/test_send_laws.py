"""The laws of whatever answers calls, and of what wraps it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.backends.local import Local
from balustrade.backends.openai import OpenAI, Server
from balustrade.backends.route import Route
from balustrade.backends.static import Static
from balustrade.core.call import (
    Call,
    Classify,
    Compute,
    Embed,
    Failed,
    Generate,
    Reply,
    Texts,
    Value,
    Vectors,
)
from balustrade.flow.cache import Cache
from balustrade.flow.limit import deadline, retry
from balustrade.flow.merge import Merge
from balustrade.flow.run import AsyncSend


class Echo(BaseHTTPRequestHandler):
    """A served model that repeats what it is asked; it has no embeddings."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer = 404, {"error": "no such model"}
        if self.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": asked["messages"][-1]["content"]}
            status, answer = 200, {"choices": [{"message": message}]}  # type: ignore[dict-item]  # JSON
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        pass


@pytest.fixture(scope="module")
def route() -> Iterator[Route]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    made = Route(
        {"static": lambda: Static("static"), "echo": lambda: OpenAI(Server(url))}, Local(4)
    )
    yield made
    made.close()
    server.shutdown()
    server.server_close()
    thread.join()


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


texts = st.lists(st.text(max_size=20), min_size=1, max_size=3).map(tuple)
calls = st.one_of(
    st.builds(Compute, st.just(double), st.integers(0, 9), st.sampled_from([-1, 0])),
    st.builds(Compute, st.just(refuse), st.integers(0, 9), st.sampled_from([-1, 0])),
    st.builds(Classify, st.just("static"), texts),
    st.builds(Generate, st.just("echo"), texts),
    st.builds(Embed, st.sampled_from(["echo", "static", "nobody"]), texts),
    st.builds(Generate, st.just("nobody"), texts),
)
rounds = st.lists(calls, max_size=6).map(tuple)


def fits(call: Call, reply: Reply) -> bool:
    """Whether a reply is one to this very call, and fails if and only if the call must."""
    match call:
        case Compute():
            if call.function is double:
                return reply == Value(2 * call.argument)
            return reply == Failed("raised ValueError")
        case Generate(model="echo"):
            return reply == Texts(call.prompts)
        case Classify():
            return isinstance(reply, Vectors) and len(reply.rows()) == len(call.texts)
        case _:
            return isinstance(reply, Failed) and bool(reply.error)


def expect_fit(asked: Sequence[Call], replies: Sequence[Reply]) -> None:
    assert len(replies) == len(asked)
    for call, reply in zip(asked, replies, strict=True):
        assert fits(call, reply), (call, reply)


law = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

WRAPPERS: dict[str, Callable[[AsyncSend], AsyncSend]] = {
    "bare": lambda send: send,
    "deadline": lambda send: deadline(send, 30.0),
    "retry": lambda send: retry(send, 2, 0.0),
    "merge": Merge,
    "merge of two": lambda send: Merge(send, limit=2),
    "merge that waits": lambda send: Merge(send, wait=0.001),
    "cache": lambda send: Cache(send, 3),
    "all": lambda send: Cache(Merge(retry(deadline(send, 30.0), 2, 0.0))),
}


@law
@given(asked=rounds)
def test_a_sync_send_gives_one_reply_for_each_call_in_order(
    route: Route, asked: tuple[Call, ...]
) -> None:
    expect_fit(asked, route.send(asked))


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
@law
@given(asked=st.lists(rounds, min_size=1, max_size=3))
def test_wrapped_sends_give_one_reply_for_each_call_in_order(
    route: Route, wrapper: str, asked: list[tuple[Call, ...]]
) -> None:
    async def ask() -> list[Sequence[Reply]]:
        send = WRAPPERS[wrapper](route.asend)
        return [reply for _ in range(2) for reply in await asyncio.gather(*map(send, asked))]

    for number, replies in enumerate(asyncio.run(ask())):
        expect_fit(asked[number % len(asked)], replies)


@given(asked=st.lists(st.one_of(calls), max_size=4).map(tuple))
def test_computations_are_answered_here_and_all_else_fails(asked: tuple[Call, ...]) -> None:
    for call, reply in zip(asked, local.send(asked), strict=True):
        assert isinstance(call, Compute) or isinstance(reply, Failed)
        assert not isinstance(call, Compute) or fits(call, reply)


def test_r17_one_send_serves_several_loops_in_turn_and_threads(route: Route) -> None:
    asked: tuple[Call, ...] = (
        Generate("echo", ("a",)),
        Compute(double, 4),
        Classify("static", ("b",)),
    )
    seen: list[Sequence[Reply]] = []
    merge = Merge(route.asend)

    async def there() -> None:
        seen.append(await merge(asked))
        seen.append(route.send(asked))

    asyncio.run(there())
    asyncio.run(there())
    thread = threading.Thread(target=lambda: asyncio.run(there()))
    thread.start()
    thread.join()
    assert len(seen) == 6
    for replies in seen:
        expect_fit(asked, replies)

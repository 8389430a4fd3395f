"""A real gateway and a scripted upstream, each on a loopback port of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from balustrade.gateway.app import App
from balustrade.gateway.protocol import Protocol
from balustrade.gateway.settings import AuditSpec, Settings, UpstreamSpec
from balustrade.gateway.state import State

POLICY = """
name = "tests"
image_hosts = ["images.example"]

[[stage.input.guards]]
use = "keywords"
words = ["forbidden"]
category = "word"

[[stage.input.rules]]
name = "no-forbidden"
category = "word"

[[stage.retrieval.guards]]
use = "keywords"
words = ["poison"]
category = "word"

[[stage.retrieval.rules]]
name = "no-poison"
category = "word"

[[stage.tool.guards]]
use = "keywords"
words = ["rm -rf"]
category = "word"

[[stage.tool.rules]]
name = "no-deletion"
category = "word"

[[stage.output.guards]]
use = "keywords"
words = ["nasty thing"]
category = "word"

[[stage.output.rules]]
name = "no-nasty"
category = "word"
"""

MASKING = """
name = "masking"
redaction = "reversible"

[[stage.input.guards]]
use = "patterns"

[[stage.input.rules]]
name = "mails"
category = "email"
action = "redact"

[[stage.output.guards]]
use = "keywords"
words = ["nasty thing"]
category = "word"

[[stage.output.rules]]
name = "no-nasty"
category = "word"
"""

DRAFTING = """
name = "again"

[regeneration]
rounds = 3

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
"""


class Script:
    """An upstream that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str, dict[str, Any]], Any] = lambda _path, _body: {}
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _body: False
        """Whether a body has something that this server does not take."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sent = 0
        """Events sent in the last stream."""
        self.was_cancelled = False
        self.cancelled = 0
        """Streams whose client left before their end."""
        self.delay = 0.0
        self.url = ""

    @property
    def last(self) -> dict[str, Any]:
        """The body it was sent last."""
        return self.asked[-1][1]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        data = b""
        while True:
            message = await receive()
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = json.loads(data) if data else {}
        self.asked.append((scope["path"], body))
        if self.refuses(body):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b'{"error": {"message": "no"}}'})
            return
        answer = self.answer(scope["path"], body)
        is_stream = isinstance(answer, list | Iterator)
        kind = b"text/event-stream" if is_stream else b"application/json"
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
        await send(head)
        if not is_stream:
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            await send({"type": "http.response.body", "body": raw})
            return
        await self._stream(answer, receive, send)

    async def _stream(self, events: Iterable[Any], receive: Any, send: Any) -> None:
        self.sent, self.was_cancelled = 0, False
        leaving = asyncio.ensure_future(receive())
        for each in events:
            if self.delay:
                await asyncio.wait((leaving,), timeout=self.delay)
            if leaving.done():
                self.was_cancelled = True
                self.cancelled += 1
                return
            raw = each if isinstance(each, bytes) else b"data: %s\n\n" % json.dumps(each).encode()
            await send({"type": "http.response.body", "body": raw, "more_body": True})
            self.sent += 1
        leaving.cancel()
        await send({"type": "http.response.body", "body": b""})


class Running:
    """An ASGI application served from a thread."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", loop="asyncio", **options)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started and self.thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.server.started, "the server did not start"

    def stop(self) -> None:
        """End it, and wait for its end."""
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


@pytest.fixture
def script() -> Iterator[Script]:
    """An upstream to be told what to answer."""
    with scripted() as upstream:
        yield upstream


@pytest.fixture
def gateway(script: Script, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A maker of gateways before that upstream; given a policy and settings, it returns an address.

    Each is the test's own; `standing` makes some that a module's tests share.
    """
    with gateways(script, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def upstream() -> Iterator[Script]:
    """The same as `script`, for all tests of a module."""
    with scripted() as shared:
        yield shared


@pytest.fixture(scope="module")
def standing(
    upstream: Script, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., str]]:
    """The same as `gateway`, for all tests of a module."""
    with gateways(upstream, tmp_path_factory.mktemp("standing")) as make:
        yield make


@contextmanager
def scripted() -> Iterator[Script]:
    upstream = Script()
    running = Running(upstream, lifespan="off")
    upstream.url = running.url
    yield upstream
    running.stop()


@contextmanager
def gateways(upstream: Script, folder: Path) -> Iterator[Callable[..., str]]:
    started: list[Running] = []

    def make(policy: str = POLICY, **more: Any) -> str:
        path = folder / f"policy{len(started)}.toml"
        path.write_text(policy)
        settings = Settings(
            policy=str(path),
            upstreams=(UpstreamSpec(name="script", url=f"{upstream.url}/v1", default=True),),
            audit=AuditSpec(path=str(folder / f"log{len(started)}.db")),
            reload=0,
            **more,
        )

        started.append(Running(App(State(settings)), http=Protocol, lifespan="on"))
        return started[-1].url

    yield make
    for running in started:
        running.stop()


@pytest.fixture
def policy() -> str:
    """The policy that gateways have unless told otherwise."""
    return POLICY


@pytest.fixture
def masking() -> str:
    """A policy that masks mail addresses, and turns them back."""
    return MASKING


@pytest.fixture
def drafting() -> str:
    """A policy that has rude answers written again, thrice at most, and blocks weapons."""
    return DRAFTING

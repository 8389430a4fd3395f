"""A moderation endpoint behind calls, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec
import pytest

from balustrade.backends.moderations import Moderations
from balustrade.core.call import Classify, Embed, Failed, Reply, Vectors


class Server:
    """Flags what holds "bad"; answers the next requests with the statuses it was given."""

    def __init__(self, statuses: tuple[int, ...] = (), raw: bytes = b"") -> None:
        self.statuses = list(statuses)
        self.raw = raw
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def answer(self, body: dict[str, Any]) -> bytes:
        results = [
            {
                "flagged": "bad" in text,
                "category_scores": {"hate": 0.75 if "bad" in text else 0.0, "sexual": 0.25},
            }
            for text in body["input"]
        ]
        return self.raw or msgspec.json.encode({"id": "1", "results": results})


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/moderations"
            body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
            server.seen.append(body)
            server.keys.append(self.headers["Authorization"])
            status = server.statuses.pop(0) if server.statuses else 200
            data = server.answer(body) if status == 200 else b"busy"
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def ask(backend: Moderations, *texts: str) -> Reply:
    [reply] = backend.send((Classify("m", texts),))
    backend.close()
    return reply


def test_scores_and_the_server_s_own_decision_become_labels() -> None:
    server = Server()
    with serving(server) as url:
        reply = ask(Moderations(url, "omni", key="k-1", batch=2), "fine", "bad", "fine too")
    assert isinstance(reply, Vectors)
    assert reply.labels == ("hate", "sexual", "flagged")
    assert reply.rows() == [[0.0, 0.25, 0.0], [0.75, 0.25, 1.0], [0.0, 0.25, 0.0]]
    assert server.seen == [
        {"input": ["fine", "bad"], "model": "omni"},
        {"input": ["fine too"], "model": "omni"},
    ]
    assert server.keys == ["Bearer k-1"] * 2


def test_sync_and_async_agree() -> None:
    call = Classify("m", ("fine", "bad"))
    with serving(Server()) as url:
        backend = Moderations(url)
        assert asyncio.run(backend.asend((call,))) == backend.send((call,))
        backend.close()


def test_a_busy_server_is_asked_again() -> None:
    server = Server(statuses=(429, 503))
    with serving(server) as url:
        reply = ask(Moderations(url, wait_seconds=0.01), "fine")
    assert isinstance(reply, Vectors)
    assert len(server.seen) == 3


def test_a_server_that_stays_busy_or_refuses_is_a_failure_that_says_so() -> None:
    with serving(Server(statuses=(503,) * 3)) as url:
        busy = ask(Moderations(url, retries=2, wait_seconds=0.01), "fine")
        assert busy == Failed(f"server {url!r} answered 503: busy")
    server = Server(statuses=(401,))
    with serving(server) as url:
        assert ask(Moderations(url), "fine") == Failed(f"server {url!r} answered 401: busy")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>", "expected moderations"),
        (b'{"results": []}', "gave 0 results for 1 texts"),
        (b'{"results": [{"flagged": 1}]}', "expected moderations"),
    ],
)
def test_an_answer_of_another_form_is_a_failure(raw: bytes, message: str) -> None:
    with serving(Server(raw=raw)) as url:
        reply = ask(Moderations(url), "fine")
    assert isinstance(reply, Failed)
    assert message in reply.error


def test_a_server_that_is_not_there_is_a_failure_with_its_address() -> None:
    with serving(Server()) as url:
        pass
    reply = ask(Moderations(url, retries=1, wait_seconds=0.01), "fine")
    assert isinstance(reply, Failed)
    assert reply.error.startswith(f"server {url!r} did not answer: ")


def test_other_calls_are_failures() -> None:
    [reply] = Moderations("http://127.0.0.1:9/v1").send((Embed("m", ("x",)),))
    assert isinstance(reply, Failed)

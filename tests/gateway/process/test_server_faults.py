"""What may befall the server itself: killed, told to stop, out of disk, with guards that fail."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from balustrade.store.sqlite import SqliteLog

GUARDS = """
from balustrade.core.guard import Latency
from balustrade.core.verdict import Verdict
import time

class Bad:
    name = "bad"
    judges = frozenset({"text", "tool_call"})
    latency = Latency.MICROSECONDS

    def __init__(self, how: str) -> None:
        self.how = how

    def check(self, batch):
        if any("trigger" in content.text for content in batch):
            if self.how == "raises":
                raise RuntimeError("secret words of the content")
            if self.how == "hangs":
                time.sleep(3)
            if self.how == "too-few":
                return []
        return [Verdict(self.name) for _ in batch]
        yield
"""

BAD = """
name = "bad"
timeout = 0.5

[[stage.input.guards]]
use = "bad_guards:Bad"
how = "{how}"

[[stage.input.guards]]
use = "keywords"
words = ["forbidden"]
category = "word"

[[stage.input.rules]]
name = "no-forbidden"
category = "word"
"""


def test_what_was_acknowledged_survives_kill_9(serve: Callable[..., Any]) -> None:
    gateway = serve()
    acknowledged: list[str] = []

    def load() -> None:
        with httpx.Client(base_url=gateway.url) as client:
            while True:
                try:
                    answer = client.post("/v1/moderations", json={"input": "a fine day"})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(answer.headers["x-balustrade-decision"])

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 300:
        time.sleep(0.01)
    gateway.signal(signal.SIGKILL)
    for thread in threads:
        thread.join()

    with SqliteLog(gateway.folder / "log.db") as log:
        log.verify()
        missing = [each for each in acknowledged if log.find(each) is None]
    assert len(acknowledged) >= 300
    assert missing == []


def test_sigterm_lets_a_stream_finish(serve: Callable[..., Any]) -> None:
    gateway = serve()
    body = {"model": "slow-100", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body) as answer:
        pieces = answer.iter_text()
        first = next(pieces)
        gateway.signal(signal.SIGTERM)
        rest = "".join(pieces)
    assert "[DONE]" not in first
    assert rest.endswith("data: [DONE]\n\n")
    assert gateway.wait() == 0
    with pytest.raises(httpx.TransportError):
        gateway.get("/healthz")


def test_a_full_disk_refuses_requests_and_says_so(serve: Callable[..., Any]) -> None:
    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    gateway = serve(preexec_fn=bounded)
    answers = [gateway.post("/v1/moderations", {"input": "word " * 2000}) for _ in range(60)]
    refused = [answer for answer in answers if answer.status_code != 200]
    kept = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in refused} == {503}
    assert refused[-1].json()["error"]["code"] == "audit_unavailable"
    assert gateway.get("/readyz").status_code == 503
    assert gateway.get("/healthz").status_code == 200
    for answer in kept:
        found = gateway.get(f"/v1/decisions/{answer.headers['x-balustrade-decision']}")
        assert found.status_code == 200


def test_a_log_that_was_taken_away_is_noticed(serve: Callable[..., Any]) -> None:
    gateway = serve()
    assert gateway.post("/v1/moderations", {"input": "hi"}).status_code == 200
    (gateway.folder / "log.db").unlink()
    answer = gateway.post("/v1/moderations", {"input": "hi"})
    assert answer.status_code == 503
    assert "on record" in answer.json()["error"]["message"]


def test_where_the_record_need_not_be_durable_requests_go_on(serve: Callable[..., Any]) -> None:
    gateway = serve(policy='name = "loose"\n[audit]\ndurable = false\n')
    (gateway.folder / "log.db").unlink()
    assert gateway.post("/v1/moderations", {"input": "hi"}).status_code == 200
    deadline = time.monotonic() + 10
    while 'balustrade_unlogged_total{durable="false"} 1' not in gateway.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("raises", "raised RuntimeError"),
        ("hangs", "did not answer within 0.5 s"),
        ("too-few", "gave 0 verdicts for 1 contents"),
    ],
)
def test_r16_a_guard_that_fails_fails_closed_alone_and_named(
    serve: Callable[..., Any], how: str, why: str
) -> None:
    gateway = _with_guards(serve, BAD.format(how=how))
    stopped = gateway.chat("words-3", "trigger")
    harmless = gateway.chat("words-3", "hi")
    assert stopped.json()["choices"][0]["finish_reason"] == "content_filter"
    record = gateway.get(f"/v1/decisions/{stopped.headers['x-balustrade-decision']}").json()
    assert record["rule"] == "on_error"
    assert record["failed"] == ["bad"]
    [verdict] = [verdict for verdict in record["verdicts"] if verdict.get("error")]
    assert verdict["guard"] == "bad"
    assert why in verdict["error"]
    assert harmless.json()["choices"][0]["finish_reason"] == "stop"
    assert 'guard_errors_total{stage="input",guard="bad"} 1' in gateway.get("/metrics").text
    assert "Traceback" not in gateway.said()


def _with_guards(serve: Callable[..., Any], policy: str) -> Any:
    # The module must be there when the server starts, in the folder that it is given as a path.
    def placed() -> None:
        with open("bad_guards.py", "w") as file:
            file.write(GUARDS)

    return serve(policy=policy, preexec_fn=placed)


def raw(gateway: Any, data: bytes) -> tuple[int, Any]:
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_what_is_no_http_is_refused_in_the_form_clients_read(plain: Any) -> None:
    status, body = raw(plain, b"GET / HTTP/1.1\r\nbad header\x00: x\r\n\r\n")
    assert status == 400
    assert body["error"]["type"] == "invalid_request_error"


def test_headers_without_end_are_refused(plain: Any) -> None:
    lines = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(100))
    status, body = raw(plain, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")
    assert status == 431
    assert body["error"]["message"] == "the headers have more than 65536 bytes"


def test_an_endless_url_is_refused(plain: Any) -> None:
    status, _ = raw(plain, b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status == 414


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_never_ends_is_not_waited_for(serve: Callable[..., Any], start: bytes) -> None:
    gateway = serve("limits.header_seconds = 0.2")
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as connection:
        connection.sendall(start)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_kept_open_longer_than_a_head_may_take_is_served(
    serve: Callable[..., Any],
) -> None:
    gateway = serve("limits.header_seconds = 0.2")
    with httpx.Client(base_url=gateway.url) as client:
        for _ in range(2):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.4)
        stream = client.get("/healthz").extensions["network_stream"]
        first = stream.get_extra_info("client_addr")
        again = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")
    assert first == again


def test_a_body_of_fifty_megabytes_is_refused(plain: Any) -> None:
    answer = httpx.post(f"{plain.url}/v1/moderations", content=b"x" * 50_000_000, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_a_body_that_does_not_say_how_long_it_is_is_bounded_too(plain: Any) -> None:
    def pieces() -> Any:
        for _ in range(50):
            yield b"x" * 1_000_000

    answer = httpx.post(f"{plain.url}/v1/moderations", content=pieces(), timeout=30)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"{", None),
        (b"[" * 200_000, None),
        (b'{"model": "m", "messages": 3}', "messages"),
        (b'{"model": 3, "messages": []}', "model"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', "messages"),
    ],
)
def test_a_body_that_is_wrong_is_refused_by_field(
    plain: Any, data: bytes, param: str | None
) -> None:
    answer = httpx.post(f"{plain.url}/v1/chat/completions", content=data, timeout=30)
    error = answer.json()["error"]
    assert 400 <= answer.status_code < 500
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"] or "").startswith(param or "")
    assert "Traceback" not in answer.text


def test_paths_and_methods_that_are_not_served_say_so(plain: Any) -> None:
    assert plain.get("/v1/nothing").status_code == 404
    wrong = plain.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"

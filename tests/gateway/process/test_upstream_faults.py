"""What an upstream may do wrong, and what the client is told of it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest


def streamed(gateway: Any, model: str) -> tuple[str, list[Any]]:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream(
        "POST", f"{gateway.url}/v1/chat/completions", json=body, timeout=30
    ) as answer:
        text = "".join(answer.iter_text())
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return text, [line if line == "[DONE]" else json.loads(line) for line in lines]


def words(events: list[Any]) -> str:
    chunks = [event for event in events if isinstance(event, dict) and "choices" in event]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_what_an_upstream_objects_to_is_passed_on_as_it_is(plain: Any) -> None:
    answer = plain.chat("error-422")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "scripted 422"


def test_a_limit_that_an_upstream_keeps_to_is_passed_on(plain: Any, scripted: Any) -> None:
    answer = plain.chat("error-429")
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "scripted 429"
    assert scripted.get("/seen").json()["error-429"]["asked"] == 3


def test_an_upstream_that_is_busy_for_a_moment_is_asked_again(plain: Any, scripted: Any) -> None:
    answer = plain.chat("busy")
    assert answer.status_code == 200
    assert scripted.get("/seen").json()["busy"]["asked"] == 2


def test_an_upstream_that_fails_inside_is_not_asked_twice(plain: Any, scripted: Any) -> None:
    answer = plain.chat("error-501")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_status"
    assert scripted.get("/seen").json()["error-501"]["asked"] == 1


def test_an_upstream_that_hangs_is_given_up_in_time(plain: Any) -> None:
    answer = plain.chat("hang")
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert "'script'" in answer.json()["error"]["message"]


def test_an_upstream_that_refuses_is_named(serve: Callable[..., Any]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gateway = serve(upstream=f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        answer = gateway.chat("m")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert gateway.post("/v1/moderations", {"input": "hi"}).status_code == 200


@pytest.mark.parametrize("model", ["cut-5", "hang-5"])
def test_a_stream_that_breaks_off_ends_with_an_error(plain: Any, model: str) -> None:
    _, events = streamed(plain, model)
    assert "the river runs past old".startswith(words(events).strip())
    assert "error" in events[-1]
    assert "[DONE]" not in events


@pytest.mark.parametrize("model", ["garbage", "huge"])
def test_events_that_cannot_be_judged_do_not_leave(plain: Any, model: str) -> None:
    text, events = streamed(plain, model)
    assert len(text) < 1000
    assert [list(event) for event in events] == [["error"]]
    assert plain.chat("words-3").status_code == 200


def test_a_violation_never_leaves_and_upstream_is_cancelled(plain: Any, scripted: Any) -> None:
    _, events = streamed(plain, "leak-40-110")
    said = words(events)
    assert len(said.split()) == 40
    assert "4111" not in said
    assert events[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert events[-1] == "[DONE]"
    seen = until(lambda: scripted.get("/seen").json()["leak-40-110"], lambda s: s["cancelled"])
    assert seen["words"] < 50


def test_a_client_that_leaves_takes_the_upstream_request_with_it(plain: Any, scripted: Any) -> None:
    body = {"model": "slow-500", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream("POST", f"{plain.url}/v1/chat/completions", json=body) as answer:
        next(answer.iter_bytes())
    seen = until(lambda: scripted.get("/seen").json()["slow-500"], lambda s: s["cancelled"])
    assert seen["words"] < 400


def test_a_client_that_leaves_before_the_answer_cancels_too(plain: Any, scripted: Any) -> None:
    before = scripted.get("/seen").json().get("hang", {}).get("cancelled", 0)
    body = {"model": "hang", "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{plain.url}/v1/chat/completions", json=body, timeout=0.3)
    until(lambda: scripted.get("/seen").json()["hang"], lambda s: s["cancelled"] > before)


def test_an_upstream_that_keeps_failing_is_left_alone_until_it_is_back(
    serve: Callable[..., Any], scripted: Any
) -> None:
    settings = f"""
[[upstreams]]
name = "script"
url = "{scripted.url}/v1"
breaker.failures = 2
breaker.rest = 0.5
"""
    gateway = serve(settings)
    first = [gateway.chat("error-500").status_code for _ in range(2)]
    left_alone = gateway.chat("words-3")
    assert first == [502, 502]
    assert left_alone.status_code == 503
    assert left_alone.json()["error"]["code"] == "upstream_unavailable"
    assert left_alone.headers["retry-after"] == "1"
    assert gateway.get("/readyz").json()["upstreams"] == {"script": "open"}
    time.sleep(0.6)
    assert gateway.chat("words-3").status_code == 200
    assert gateway.get("/readyz").json()["upstreams"] == {"script": "closed"}


def until(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 15
    while not is_so(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found

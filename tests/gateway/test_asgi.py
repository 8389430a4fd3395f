"""The application under a server that is not ours, and handlers that do not end well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from balustrade.gateway.app import App
from balustrade.gateway.settings import AuditSpec, Settings, UpstreamSpec
from balustrade.gateway.state import State


@pytest.fixture
def elsewhere(script: Any, tmp_path: Path) -> Iterator[str]:
    """The application under uvicorn's own protocol."""
    (tmp_path / "policy.toml").write_text('name = "none"\n')
    settings = Settings(
        policy=str(tmp_path / "policy.toml"),
        upstreams=(UpstreamSpec(name="s", url=f"{script.url}/v1"),),
        audit=AuditSpec(path=str(tmp_path / "log.db")),
    )
    running = _running(script)(App(State(settings)), lifespan="on")
    yield running.url
    running.stop()


def _running(script: Any) -> Any:
    # The class lives in conftest, which cannot be imported; the script's module is that one.
    import sys

    return sys.modules[type(script).__module__].Running


def chunk(word: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]}  # fmt: skip


def test_a_client_that_leaves_is_noticed_under_any_server(elsewhere: str, script: Any) -> None:
    script.answer = lambda _path, _body: [chunk(f" word{n}") for n in range(500)]
    script.delay = 0.01
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream("POST", f"{elsewhere}/v1/chat/completions", json=body) as answer:
        next(answer.iter_bytes())
    deadline = time.monotonic() + 10
    while not script.was_cancelled:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert script.sent < 400


def test_answers_are_the_same_under_any_server(elsewhere: str) -> None:
    answer = httpx.post(f"{elsewhere}/v1/moderations", json={"input": "hi"})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")
    assert httpx.get(f"{elsewhere}/nothing").json()["error"]["code"] == "not_found"


def test_an_error_of_ours_tells_a_request_id_and_nothing_else(
    gateway: Callable[..., str], script: Any
) -> None:
    script.answer = lambda _path, _body: 1 / 0
    url = gateway()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 502
    assert "Traceback" not in answer.text
    assert "ZeroDivision" not in answer.text

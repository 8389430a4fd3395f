"""Keys: who may ask, for what, how often, under which policy (R25)."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from balustrade.gateway.auth import new_key

LAX = 'name = "lax"\n'


def keyed(serve: Callable[..., Any], **keys: str) -> tuple[Any, dict[str, dict[str, str]]]:
    """Return a gateway with keys of these further fields, and each key's headers."""
    lines, headers = [], {}
    for name, more in keys.items():
        secret, digest = new_key()
        lines.append(f'[[keys]]\nname = "{name}"\nhash = "{digest}"\n{more}\n')
        headers[name] = {"authorization": f"Bearer {secret}"}
    settings = 'policies = {lax = "lax.toml", words = "policy.toml"}\n' + "\n".join(lines)

    def placed() -> None:
        with open("lax.toml", "w") as file:
            file.write(LAX)

    return serve(settings, preexec_fn=placed), headers


def test_without_a_key_nothing_is_told(serve: Callable[..., Any]) -> None:
    gateway, _ = keyed(serve, ann="")
    body = {"input": "hi"}
    missing = gateway.post("/v1/moderations", body)
    wrong = gateway.post("/v1/moderations", body, authorization="Bearer bal-" + "x" * 43)
    assert missing.status_code == wrong.status_code == 401
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    for path in ("/", "/console/decisions", "/v1/decisions", "/v1/policy", "/v1/models"):
        assert gateway.get(path).status_code == 401
    assert gateway.get("/healthz").status_code == 200


def test_a_browser_is_asked_for_the_key(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann="")
    asked = gateway.get("/", accept="text/html")
    secret = headers["ann"]["authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"anyone:{secret}".encode()).decode()
    assert asked.headers["www-authenticate"].startswith("Basic")
    assert gateway.get("/", authorization=f"Basic {basic}").status_code == 200
    assert gateway.get("/v1/policy", authorization=f"Basic {basic}").status_code == 401


def test_r25_a_key_has_its_own_policy(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann='policy = "words"', bob='policy = "lax"')
    answers = {
        name: gateway.post("/v1/moderations", {"input": "forbidden"}, **headers[name])
        for name in ("ann", "bob")
    }
    flagged = {name: a.json()["results"][0]["flagged"] for name, a in answers.items()}
    assert flagged == {"ann": True, "bob": False}
    assert gateway.get("/v1/policy", **headers["bob"]).json()["name"] == "lax"


def test_a_key_asks_only_for_its_models(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann='models = ["words-*"]')
    body = {"messages": [{"role": "user", "content": "hi"}]}
    path = "/v1/chat/completions"
    assert gateway.post(path, {"model": "words-3", **body}, **headers["ann"]).status_code == 200
    refused = gateway.post(path, {"model": "echo", **body}, **headers["ann"])
    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "model"


def test_a_key_asks_only_so_often(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann="requests_per_minute = 3", bob="")
    statuses = [
        gateway.post("/v1/moderations", {"input": "hi"}, **headers["ann"]).status_code
        for _ in range(4)
    ]
    other = gateway.post("/v1/moderations", {"input": "hi"}, **headers["bob"])
    assert statuses == [200, 200, 200, 429]
    assert other.status_code == 200


def test_a_key_spends_tokens(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann="tokens_per_minute = 30")
    body = {"model": "words-40", "messages": [{"role": "user", "content": "hi"}]}
    first = gateway.post("/v1/chat/completions", body, **headers["ann"])
    second = gateway.post("/v1/chat/completions", body, **headers["ann"])
    assert [first.status_code, second.status_code] == [200, 429]
    assert int(second.headers["retry-after"]) > 0
    assert second.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_a_streamed_answer_spends_tokens_too(serve: Callable[..., Any], path: str) -> None:
    gateway, headers = keyed(serve, ann="tokens_per_minute = 60")
    said: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
        "/v1/completions": {"prompt": "hi"},
        "/v1/responses": {"input": "hi"},
    }
    body = {"model": "words-80", "stream": True, **said[path]}
    first = gateway.post(path, body, **headers["ann"])
    second = gateway.post(path, body, **headers["ann"])
    assert [first.status_code, second.status_code] == [200, 429]


def test_decisions_of_another_tenant_are_not_there(serve: Callable[..., Any]) -> None:
    gateway, headers = keyed(serve, ann='tenant = "a"', bob='tenant = "b"', root="admin = true")
    answer = gateway.post("/v1/moderations", {"input": "hi"}, **headers["ann"])
    path = f"/v1/decisions/{answer.headers['x-balustrade-decision']}"
    statuses = {name: gateway.get(path, **own).status_code for name, own in headers.items()}
    assert statuses == {"ann": 200, "bob": 404, "root": 200}
    assert gateway.get("/v1/decisions", **headers["bob"]).json()["data"] == []
    assert len(gateway.get("/v1/decisions", **headers["root"]).json()["data"]) == 1


def test_keys_never_reach_the_log_or_the_upstream(serve: Callable[..., Any], scripted: Any) -> None:
    gateway, headers = keyed(serve, ann="")
    body = {"model": "words-3", "messages": [{"role": "user", "content": "hi"}]}
    gateway.post("/v1/chat/completions", body, **headers["ann"])
    secret = headers["ann"]["authorization"].removeprefix("Bearer ")
    stored = b"".join(path.read_bytes() for path in gateway.folder.glob("log.db*"))
    assert secret not in gateway.said()
    assert secret.encode() not in stored
    assert secret not in scripted.get("/seen").text


def test_beyond_this_machine_it_serves_only_with_keys() -> None:
    command = [sys.executable, "-m", "balustrade", "serve", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no keys are configured" in done.stderr

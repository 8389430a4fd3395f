"""Requests made from the OpenAPI document, right and wrong: none breaks the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from balustrade.gateway.openapi import OPERATIONS, describe

LIMITS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def answer(path: str, body: dict[str, Any]) -> Any:
    """Answer any request that gets through, in the right form."""
    if path.endswith("/embeddings"):
        return {"object": "list", "data": []}
    if path.endswith("/responses"):
        whole = {"id": "r", "status": "completed", "output": []}
        return [{"type": "response.completed", "response": whole}] if body.get("stream") else whole
    if body.get("stream"):
        return [b"data: [DONE]\n\n"]
    return {"choices": []}


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op.takes], ids=lambda op: op.path)
def test_no_request_breaks_the_server(
    gateway: Callable[..., str], script: Any, operation: Any, mode: GenerationMode
) -> None:
    script.answer = answer
    schema = schemathesis.openapi.from_dict(describe())
    url = gateway()
    cases = schema[operation.path][operation.method].as_strategy(generation_mode=mode)

    @LIMITS
    @given(cases)
    def holds(case: schemathesis.Case[Any]) -> None:
        reply = case.call(base_url=url)
        assert reply.status_code < 500, reply.text
        if reply.status_code >= 400:
            error = reply.json()["error"]
            assert error["message"]
            assert "Traceback" not in reply.text

    holds()


@LIMITS
@given(data=st.binary(max_size=300))
def broken(url: str, data: bytes) -> None:
    reply = httpx.post(url + "/v1/chat/completions", content=data)
    assert 400 <= reply.status_code < 500
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_no_bytes_break_the_server(gateway: Callable[..., str]) -> None:
    broken(gateway())

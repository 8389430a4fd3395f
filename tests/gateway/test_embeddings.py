"""POST /v1/embeddings: texts pass the input rail on their way to the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

VECTORS = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"}


def ask(url: str, given: Any) -> httpx.Response:
    return httpx.post(
        url + "/v1/embeddings", json={"model": "m", "input": given, "x": 1}, timeout=20
    )


def test_texts_pass_masked_and_vectors_come_back(
    gateway: Callable[..., str], script: Any, masking: str
) -> None:
    script.answer = lambda _path, _body: VECTORS

    reply = ask(gateway(masking), ["plain", "ann@example.org"])

    assert script.last == {"model": "m", "input": ["plain", "[EMAIL_1]"], "x": 1}
    assert reply.json()["data"] == VECTORS["data"]
    assert reply.headers["x-balustrade-action"] == "redact"


def test_a_refused_text_is_an_error(gateway: Callable[..., str], script: Any) -> None:
    reply = ask(gateway(), "forbidden")

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "content_filter")
    assert reply.headers["x-balustrade-decision"].startswith("dec_")
    assert script.asked == []


@pytest.mark.parametrize("given", [[1, 2], [[1]], [], None])
def test_inputs_that_cannot_be_judged_are_refused(gateway: Callable[..., str], given: Any) -> None:
    reply = ask(gateway(), given)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith("input")


def test_an_answer_that_is_none_does_not_leave(gateway: Callable[..., str], script: Any) -> None:
    script.answer = lambda _path, _body: b"nonsense"

    reply = ask(gateway(), "fine")

    assert reply.status_code == 502
    assert "nonsense" not in json.dumps(reply.json())

"""POST /v1/completions: prompts and what continues them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/completions"


def answer(_path: str, body: dict[str, Any]) -> Any:
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    if not body.get("stream"):
        choices = [
            {"index": n, "text": f"re {text}", "finish_reason": "stop", "logprobs": {"tokens": []}}
            for n, text in enumerate(prompts)
        ]
        return {"id": "cmpl-1", "choices": choices}
    pieces = [
        {"choices": [{"index": n, "text": piece}]}
        for n, text in enumerate(prompts)
        for piece in ("re ", *text)
    ]
    ends = [
        {"choices": [{"index": n, "text": "", "finish_reason": "stop"}]}
        for n in range(len(prompts))
    ]
    return [*pieces, *ends, b"data: [DONE]\n\n"]


def ask(url: str, prompt: Any, **more: Any) -> httpx.Response:
    return httpx.post(url + PATH, json={"model": "m", "prompt": prompt, **more}, timeout=20)


def heard(reply: httpx.Response) -> tuple[dict[int, str], dict[int, str]]:
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    for line in reply.text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
                if choice["finish_reason"]:
                    ends[choice["index"]] = choice["finish_reason"]
    return texts, ends


@pytest.mark.parametrize(
    ("prompt", "ends"),
    [
        ("fine", ["stop"]),
        ("a nasty thing", ["content_filter"]),
        (["fine", "a nasty thing"], ["stop", "content_filter"]),
        ("forbidden", ["content_filter"]),
        (["fine", "forbidden"], ["content_filter", "content_filter"]),
    ],
)
def test_r4_streamed_and_plain_agree(
    gateway: Callable[..., str], script: Any, prompt: Any, ends: list[str]
) -> None:
    script.answer = answer
    url = gateway()

    plain = ask(url, prompt).json()
    texts, streamed = heard(ask(url, prompt, stream=True))

    assert [choice["finish_reason"] for choice in plain["choices"]] == ends
    assert [streamed[n] for n in sorted(streamed)] == ends
    for choice in plain["choices"]:
        if choice["finish_reason"] == "stop":
            assert texts[choice["index"]] == choice["text"]
        assert "nasty" not in texts[choice["index"]]


def test_a_suffix_is_judged_too(gateway: Callable[..., str], script: Any) -> None:
    reply = ask(gateway(), "fine", suffix="forbidden").json()

    assert reply["balustrade"]["rule"] == "no-forbidden"
    assert script.asked == []


@pytest.mark.parametrize("is_stream", [False, True])
def test_r21_masked_prompts_are_turned_back(
    gateway: Callable[..., str], script: Any, masking: str, is_stream: bool
) -> None:
    script.answer = answer
    prompts = ["to ann@example.org", "from bob@example.org"]

    reply = ask(gateway(masking), prompts, stream=is_stream)

    if is_stream:
        assert heard(reply)[0] == {n: f"re {text}" for n, text in enumerate(prompts)}
    else:
        assert [c["text"] for c in reply.json()["choices"]] == [f"re {text}" for text in prompts]
    assert "example.org" not in json.dumps(script.asked)


@pytest.mark.parametrize("prompt", [[1, 2], [[1, 2]], [], None, {"a": 1}])
def test_prompts_that_cannot_be_judged_are_refused(
    gateway: Callable[..., str], prompt: Any
) -> None:
    reply = ask(gateway(), prompt)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith("prompt")

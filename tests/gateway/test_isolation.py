"""What one request hides, no other request is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import httpx


def answer(_path: str, body: dict[str, Any]) -> Any:
    """Repeat what was said, and name placeholders that others may have been given."""
    text = body["messages"][-1]["content"]
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    size = random.Random(text).randint(1, 7)
    deltas = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*events, last, b"data: [DONE]\n\n"]


async def converse(client: httpx.AsyncClient, url: str, number: int) -> tuple[str, str]:
    said = f"I am person{number}@example.org, or p{number}.b@example.org; not [EMAIL_1] [EMAIL_7]"
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": said}],
        "stream": number % 2 == 1,
    }
    reply = await client.post(url + "/v1/chat/completions", json=body)
    if not body["stream"]:
        return said, reply.json()["choices"][0]["message"]["content"]
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return said, "".join(choice["delta"].get("content") or "" for choice in choices)


def test_r6_a_hundred_requests_at_once_keep_their_secrets_apart(
    gateway: Callable[..., str], script: Any, masking: str
) -> None:
    script.answer = answer
    url = gateway(masking)

    async def all_at_once() -> list[tuple[str, str]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            return await asyncio.gather(*(converse(client, url, n) for n in range(100)))

    for said, heard in asyncio.run(all_at_once()):
        assert heard == said
    assert "example.org" not in json.dumps(script.asked)

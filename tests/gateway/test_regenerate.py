"""A rule of `regenerate`: an answer is asked for again, told why, until it passes or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/chat/completions"
REFUSED = "I'm sorry, but I can't help with that."


def said(*texts: str) -> dict[str, Any]:
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate(texts)
    ]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def play(script: Any, *drafts: tuple[str, ...]) -> None:
    """Have the upstream give one draft after the other."""
    left = list(drafts)
    script.answer = lambda _path, _body: said(*left.pop(0))


def ask(url: str, **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "Tell me."}], **more}
    return httpx.post(url + PATH, json=body, timeout=20)


def text_of(reply: httpx.Response) -> str:
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return str(reply.json()["choices"][0]["message"]["content"])
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    deltas = [c["delta"] for line in lines[:-1] for c in json.loads(line).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_draft_is_written_again_and_nobody_sees_it(
    gateway: Callable[..., str], script: Any, drafting: str, stream: bool
) -> None:
    play(script, ("You nasty thing.",), ("A nasty thing again.",), ("You are kind.",))
    url = gateway(drafting)
    reply = ask(url, stream=stream)
    assert text_of(reply) == "You are kind."
    assert "nasty" not in reply.text
    assert reply.headers.get("x-balustrade-action", "allow") == "allow"
    first, second, third = [body["messages"] for _, body in script.asked]
    assert len(first) == 1
    for told in (second, third):
        assert told[:1] == first
        assert "rudeness" in told[1]["content"]
        assert "nasty" not in told[1]["content"]
    assert not any(body.get("stream") for _, body in script.asked)


@pytest.mark.parametrize("stream", [False, True])
def test_after_the_last_round_it_is_refused_and_every_draft_is_on_record(
    gateway: Callable[..., str], script: Any, drafting: str, stream: bool
) -> None:
    play(script, *[("You nasty thing.",)] * 9)
    url = gateway(drafting)
    reply = ask(url, stream=stream)
    assert "nasty" not in text_of(reply)
    assert "content_filter" in reply.text
    assert len(script.asked) == 3
    listed = httpx.get(f"{url}/v1/decisions", timeout=20).json()
    actions = [each["action"] for each in listed["data"] if each["stage"] == "output"]
    assert actions.count("regenerate") >= 3


def test_what_is_blocked_is_not_asked_for_again(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    play(script, ("A bomb, you nasty thing.",), ("never",))
    assert text_of(ask(gateway(drafting))) == REFUSED
    assert len(script.asked) == 1


def test_only_alternatives_that_were_held_back_are_written_again(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    play(script, ("kind", "a nasty thing", "a nasty thing"), ("better", "a nasty thing"), ("best",))
    reply = ask(gateway(drafting), n=3)
    choices = reply.json()["choices"]
    assert [c["message"]["content"] for c in choices] == ["kind", "better", "best"]
    assert [c["index"] for c in choices] == [0, 1, 2]
    assert [body.get("n") for _, body in script.asked] == [3, 2, None]


def test_a_model_that_fails_the_second_time_leaves_a_refusal(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    play(script, ("a nasty thing",))
    script.refuses = lambda body: len(body["messages"]) > 1
    assert text_of(ask(gateway(drafting))) == REFUSED

"""A rule of `regenerate` on /v1/responses: asked for again, told why, until it passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/responses"
ROUTE = """
[stage.route]
guard = "watch"
restrictive = ["Be kind."]
"""
REFUSED = "I'm sorry, but I can't help with that."

both_ways = pytest.mark.parametrize("stream", [False, True])


def said(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg", "type": "message", "role": "assistant", "content": [part]}
    return {"id": "resp", "object": "response", "status": "completed", "output": [item]}


def play(script: Any, *drafts: str) -> None:
    """Have the upstream give one draft after the other."""
    left = list(drafts)
    script.answer = lambda _path, _body: said(left.pop(0))


def ask(url: str, given: Any = "Tell me.", **more: Any) -> httpx.Response:
    return httpx.post(url + PATH, json={"model": "m", "input": given, **more}, timeout=20)


def response(reply: httpx.Response) -> dict[str, Any]:
    """Return the whole response, which a stream ends with."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        found: dict[str, Any] = reply.json()
        return found
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    found = events[-1]["response"]
    return found


def parts(reply: httpx.Response) -> list[str]:
    found = [part for item in response(reply)["output"] for part in item["content"]]
    return [part.get("text", part.get("refusal")) for part in found]


@both_ways
@pytest.mark.parametrize("given", ["Tell me.", [{"role": "user", "content": "Tell me."}]])
def test_a_bad_draft_is_written_again_and_nobody_sees_it(
    gateway: Callable[..., str], script: Any, drafting: str, given: Any, stream: bool
) -> None:
    play(script, "You nasty thing.", "A nasty thing again.", "You are kind.")
    reply = ask(gateway(drafting), given, stream=stream)
    assert parts(reply) == ["You are kind."]
    assert response(reply)["status"] == "completed"
    assert "nasty" not in reply.text
    assert reply.headers["x-balustrade-action"] == "allow"
    first, second, third = [body["input"] for _, body in script.asked]
    assert first == given
    for told in (second, third):
        asked, note = told
        assert (asked["role"], asked["content"]) == ("user", "Tell me.")
        assert "rudeness" in note["content"]
        assert "nasty" not in note["content"]
    assert not any(body.get("stream") for _, body in script.asked)


@both_ways
def test_after_the_last_round_it_is_refused_and_every_draft_is_on_record(
    gateway: Callable[..., str], script: Any, drafting: str, stream: bool
) -> None:
    play(script, *["You nasty thing."] * 9)
    url = gateway(drafting)
    reply = ask(url, stream=stream)
    assert "nasty" not in reply.text
    assert response(reply)["incomplete_details"] == {"reason": "content_filter"}
    assert len(script.asked) == 3
    listed = httpx.get(f"{url}/v1/decisions", timeout=20).json()
    actions = [each["action"] for each in listed["data"] if each["stage"] == "output"]
    assert actions.count("regenerate") >= 3


def test_what_is_blocked_is_not_asked_for_again(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    play(script, "A bomb, you nasty thing.", "never")
    assert parts(ask(gateway(drafting))) == [REFUSED]
    assert len(script.asked) == 1


def test_a_model_that_fails_the_second_time_leaves_a_refusal(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    play(script, "a nasty thing")
    script.refuses = lambda body: isinstance(body["input"], list)
    assert parts(ask(gateway(drafting))) == [REFUSED]


@both_ways
def test_a_second_draft_that_is_no_response_is_an_error_of_upstream(
    gateway: Callable[..., str], script: Any, drafting: str, stream: bool
) -> None:
    drafts: list[Any] = [said("a nasty thing"), b"<html>"]
    script.answer = lambda _path, _body: drafts.pop(0)
    reply = ask(gateway(drafting), stream=stream)
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "upstream_broken"


@both_ways
def test_a_careful_answer_is_weighed_again(
    gateway: Callable[..., str], script: Any, drafting: str, stream: bool
) -> None:
    notes = {"check": "", "tip": "", "route": "potential_violation"}
    watch = {"choices": [{"index": 0, "message": {"content": json.dumps(notes)}}]}
    left = ["You nasty thing.", "You are kind."]

    def answer(_path: str, body: dict[str, Any]) -> Any:
        if body["model"] == "watch":
            return watch
        assert body["text"]["format"]["type"] == "json_schema"
        return said(json.dumps({"reevaluation": "SECRET", "final_response": left.pop(0)}))

    script.answer = answer
    reply = ask(gateway(drafting + ROUTE), stream=stream)
    assert parts(reply) == ["You are kind."]
    assert "SECRET" not in reply.text
    roles = [call.partition(";")[0] for call in reply.headers["x-balustrade-calls"].split(", ")]
    assert roles == ["router", "reevaluation", "reevaluation"]


def test_parts_of_kinds_that_nobody_knows_do_not_leave_in_a_stream(
    gateway: Callable[..., str], script: Any, drafting: str
) -> None:
    odd = said("You are kind.")
    odd["output"][0]["content"] += ["bare words", {"type": "new", "words": "A nasty thing."}]
    drafts = [odd, said("You are kind.")]
    script.answer = lambda _path, _body: drafts.pop(0)
    reply = ask(gateway(drafting), stream=True)
    assert parts(reply) == ["You are kind."]

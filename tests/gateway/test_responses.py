"""POST /v1/responses: items in, items and events out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/responses"


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "m", "type": "message", "role": "assistant", "content": [part]}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "f", "type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}


def whole(*output: dict[str, Any]) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output)}


def ask(url: str, given: Any, **more: Any) -> httpx.Response:
    return httpx.post(url + PATH, json={"model": "m", "input": given, **more}, timeout=20)


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("forbidden", "no-forbidden"),
        ([{"role": "user", "content": "forbidden"}], "no-forbidden"),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "forbidden"}]}],
            "no-forbidden",
        ),
        ([{"type": "function_call_output", "call_id": "c", "output": "poison"}], "no-poison"),
        (
            [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_text", "text": "poison"}],
                }
            ],
            "no-poison",
        ),
        ([call('"rm -rf"'), {"role": "user", "content": "go on"}], "no-deletion"),
        ([message("a nasty thing"), {"role": "user", "content": "go on"}], "no-nasty"),
        ([{"type": "new_search_call", "results": [{"text": "poison"}]}], "no-poison"),
    ],
)
def test_each_item_is_judged_by_its_rail(
    gateway: Callable[..., str], script: Any, given: Any, rule: str
) -> None:
    answer = ask(gateway(), given).json()

    assert answer["status"] == "incomplete"
    assert answer["balustrade"]["rule"] == rule
    assert script.asked == []


def test_r4_an_answer_has_the_same_outcome_streamed_and_plain(
    gateway: Callable[..., str], script: Any
) -> None:
    url = gateway()
    reasoning = {"id": "r", "type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]}
    nasty = {**reasoning, "summary": [{"type": "summary_text", "text": "a nasty thing"}]}
    for output in (
        [message("fine")],
        [message("a nasty thing")],
        [message("fine"), call('{"a": 1}')],
        [message("fine"), call('"rm -rf"')],
        [nasty, message("fine")],
        [reasoning, message("fine")],
    ):
        answer = whole(*output)
        done = [
            {"type": "response.output_item.done", "output_index": n, "item": item}
            for n, item in enumerate(output)
        ]
        begun = {"type": "response.created", "response": {**answer, "output": []}}
        last = {"type": "response.completed", "response": answer}
        script.answer = lambda _p, b, a=answer, e=(begun, *done, last): (
            list(e) if b.get("stream") else a
        )

        plain = ask(url, "hello").json()
        streamed = events(ask(url, "hello", stream=True))

        final = streamed[-1]["response"]
        assert final["status"] == plain["status"], output
        for field in ("action", "rule", "stage"):
            assert final["balustrade"][field] == plain["balustrade"][field], output
        if plain["status"] == "completed":
            assert final["output"] == plain["output"] == output
        assert "rm -rf" not in json.dumps(streamed)
        assert "nasty thing" not in json.dumps(streamed)


def test_r21_a_conversation_kept_upstream_is_turned_back(
    gateway: Callable[..., str], script: Any, masking: str
) -> None:
    url = gateway(masking)
    script.answer = lambda _p, b: whole(
        message(f"noted {b['input']}"), call(json.dumps(b["input"]))
    )
    first = ask(url, "I am ann@example.org").json()
    script.answer = lambda _p, _b: {**whole(message("You are [EMAIL_1].")), "id": "resp_2"}

    known = ask(url, "who am I?", previous_response_id=first["id"]).json()
    unknown = ask(url, "who am I?").json()

    assert first["output"][0]["content"][0]["text"] == "noted I am ann@example.org"
    assert json.loads(first["output"][1]["arguments"]) == "I am ann@example.org"
    assert known["output"][0]["content"][0]["text"] == "You are ann@example.org."
    assert unknown["output"][0]["content"][0]["text"] == "You are [EMAIL_1]."
    assert "example.org" not in json.dumps(script.asked)


def test_r21_streamed_words_are_turned_back(
    gateway: Callable[..., str], script: Any, masking: str
) -> None:
    def echo(_path: str, body: dict[str, Any]) -> list[Any]:
        at = {"item_id": "m", "output_index": 0, "content_index": 0}
        text = body["input"]
        deltas = [{"type": "response.output_text.delta", **at, "delta": c} for c in text]
        done = {"type": "response.output_text.done", **at, "text": text}
        return [*deltas, done, {"type": "response.completed", "response": whole(message(text))}]

    script.answer = echo
    text = "mail ann@example.org and bob@example.org"

    heard = events(ask(gateway(masking), text, stream=True))

    deltas = [e["delta"] for e in heard if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text
    [done] = [e for e in heard if e["type"] == "response.output_text.done"]
    assert done["text"] == text
    assert heard[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert [e["sequence_number"] for e in heard] == list(range(len(heard)))


def test_images_are_held_to_the_policys_hosts(gateway: Callable[..., str], script: Any) -> None:
    part = {"type": "input_image", "image_url": "http://169.254.169.254/"}

    reply = ask(gateway(), [{"role": "user", "content": [part]}])

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "input[0].content[0].image_url"
    assert script.asked == []


@pytest.mark.parametrize("broken", [[b"data: {\n\n"], [{"type": "error", "message": "boom"}], []])
def test_a_stream_that_breaks_ends_with_an_error_event(
    gateway: Callable[..., str], script: Any, broken: list[Any]
) -> None:
    script.answer = lambda _p, _b: broken

    assert events(ask(gateway(), "hi", stream=True))[-1]["error"]["type"] == "upstream_error"

"""POST /v1/chat/completions, plain: what is refused, what is passed on, what is masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/chat/completions"


def said(*texts: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, **more},
                "finish_reason": "stop",
                "logprobs": None,
            }
            for index, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def called(name: str, arguments: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return said("", content=None, tool_calls=[call])


def ask(url: str, *messages: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": list(messages), **more}
    return httpx.post(url + PATH, json=body, timeout=20)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_an_answer_comes_back_with_its_decision(gateway: Callable[..., str], script: Any) -> None:
    script.answer = lambda _path, _body: said("a fine day")
    url = gateway()

    reply = ask(url, user("hello"))

    body = reply.json()
    assert reply.status_code == 200
    assert body["choices"] == said("a fine day")["choices"]
    assert body["balustrade"]["action"] == "allow"
    assert reply.headers["x-balustrade-decision"] == body["balustrade"]["decision"]
    record = httpx.get(f"{url}/v1/decisions/{body['balustrade']['decision']}")
    assert record.status_code == 200


def test_a_refused_request_never_reaches_the_model(
    gateway: Callable[..., str], script: Any
) -> None:
    reply = ask(gateway(), user("the forbidden word"), n=2)

    choices = reply.json()["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["content_filter"] * 2
    assert choices[0]["message"]["content"] == "I'm sorry, but I can't help with that."
    assert reply.json()["balustrade"]["rule"] == "no-forbidden"
    assert reply.headers["x-balustrade-action"] == "block"
    assert script.asked == []


def test_a_policy_may_refuse_with_an_error(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    policy += '\n[refuse]\nform = "error"\nmessage = "not here"\n'
    url = gateway(policy)
    script.answer = lambda _path, _body: said("a nasty thing")

    asked, answered = ask(url, user("forbidden")), ask(url, user("hello"))

    for reply in (asked, answered):
        assert reply.status_code == 400
        assert reply.json()["error"]["code"] == "content_filter"
        assert reply.json()["error"]["message"] == "not here"
        assert reply.headers["x-balustrade-decision"].startswith("dec_")


def test_only_the_bad_alternative_is_filtered(gateway: Callable[..., str], script: Any) -> None:
    script.answer = lambda _path, _body: said("fine", "a nasty thing", "good")

    choices = ask(gateway(), user("hello"), n=3).json()["choices"]

    assert [c["finish_reason"] for c in choices] == ["stop", "content_filter", "stop"]
    assert choices[0]["message"]["content"] == "fine"
    assert "nasty" not in json.dumps(choices)


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ([user("forbidden"), {"role": "assistant", "content": "no"}, user("ok")], "no-forbidden"),
        ([user([{"type": "text", "text": "a"}, {"type": "text", "text": "forbidden"}])], None),
        ([user("a"), {"role": "assistant", "content": "a nasty thing"}, user("b")], "no-nasty"),
        ([user("a"), {"role": "tool", "tool_call_id": "1", "content": "poison"}], "no-poison"),
        (
            [
                user("a"),
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "sh", "arguments": '{"c":"rm -rf"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "done"},
            ],
            "no-deletion",
        ),
    ],
)
def test_each_rail_judges_its_part_of_the_conversation(
    gateway: Callable[..., str], messages: list[dict[str, Any]], rule: str | None
) -> None:
    body = ask(gateway(), *messages).json()

    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["balustrade"]["rule"] == (rule or "no-forbidden")


def test_retrieved_documents_pass_the_retrieval_rail(gateway: Callable[..., str]) -> None:
    body = ask(gateway(), user("a"), documents=[{"title": "t", "text": "poison"}]).json()

    assert body["balustrade"]["rule"] == "no-poison"


def test_system_messages_are_trusted_unless_the_policy_says_otherwise(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    script.answer = lambda _path, _body: said("fine")
    system = {"role": "system", "content": "never say forbidden"}

    trusted = ask(gateway(), system, user("a")).json()
    judged = ask(gateway("trust_system = false\n" + policy), system, user("a")).json()

    assert trusted["choices"][0]["finish_reason"] == "stop"
    assert judged["choices"][0]["finish_reason"] == "content_filter"


def test_r19_tools_and_unknown_fields_pass_untouched(
    gateway: Callable[..., str], script: Any
) -> None:
    script.answer = lambda _path, _body: called("look", '{"q": "Porto"}')
    tools = [
        {
            "type": "function",
            "function": {
                "name": "look",
                "parameters": {"type": "object", "properties": {"Content": {"type": "string"}}},
            },
        },
        {"type": "web_search", "filters": {"Messages": [1.5, None, 10**20]}},
    ]
    more = {"tools": tools, "tool_choice": "required", "x_new": {"deep": [1, {"a": "ü"}]}}

    reply = ask(gateway(), user("hello"), **more).json()

    assert {key: script.last[key] for key in more} == more
    assert reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"


def test_r19_a_bad_tool_call_is_stopped(gateway: Callable[..., str], script: Any) -> None:
    script.answer = lambda _path, _body: called("sh", '{"command": "rm -rf /"}')

    body = ask(gateway(), user("hello")).json()

    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["balustrade"] | {"decision": ""} == {
        "decision": "",
        "action": "block",
        "rule": "no-deletion",
        "stage": "tool",
    }
    assert "rm -rf" not in json.dumps(body)


def test_r21_what_is_masked_is_turned_back(
    gateway: Callable[..., str], script: Any, masking: str
) -> None:
    def echo(_path: str, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "mail", "arguments": json.dumps({"to": text})},
        }
        return said(f"I wrote: {text}", tool_calls=[call])

    script.answer = echo
    text = 'mail "ann@example.org" and bob@example.org, then ann@example.org'

    message = ask(gateway(masking), user(text)).json()["choices"][0]["message"]

    assert "example.org" not in json.dumps(script.last)
    assert message["content"] == f"I wrote: {text}"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"to": text}


def test_images_are_not_fetched_from_hosts_the_policy_does_not_name(
    gateway: Callable[..., str], script: Any
) -> None:
    script.answer = lambda _path, _body: said("fine")
    url = gateway()

    def image(address: str) -> httpx.Response:
        return ask(url, user([{"type": "image_url", "image_url": {"url": address}}]))

    allowed = ["https://images.example/a.png", "data:image/png;base64,aGVsbG8="]
    refused = [
        "http://169.254.169.254/latest",
        "https://images.example@evil.test/",
        "https://evil.test\\@images.example/",
        "file:///etc/passwd",
        "//images.example/a",
        "http://[::1",
        "data:image/png;base64,!!",
    ]
    assert [image(address).status_code for address in allowed] == [200, 200]
    assert len(script.asked) == 2
    for address in refused:
        reply = image(address)
        assert reply.status_code == 400, address
        assert reply.json()["error"]["param"] == "messages[0].content[0].image_url.url"
    assert len(script.asked) == 2


def test_a_field_given_twice_or_in_other_case_cannot_mean_two_things(
    gateway: Callable[..., str], script: Any
) -> None:
    script.answer = lambda _path, _body: said("fine")
    url = gateway()
    harmless = '"messages":[{"role":"user","content":"a"}]'
    harmful = '"messages":[{"role":"user","content":"forbidden"}]'

    twice = httpx.post(url + PATH, content=f'{{"model":"m",{harmful},{harmless}}}')
    odd = harmful.replace("messages", "Messages")
    cased = httpx.post(url + PATH, content=f'{{"model":"m",{harmless},{odd}}}')

    assert twice.status_code == 200
    assert "forbidden" not in json.dumps(script.last)
    assert cased.status_code == 400
    assert cased.json()["error"]["param"] == "Messages"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"messages":[{"role":"user","content":"a"}]}', "model"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":1,"messages":[{"role":"user","content":"a"}]}', "model"),
        (b'{"model":"m","messages":[{"role":"boss","content":"a"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', "messages[0].content"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "messages[0].content"),
        (b'{"model":"m","n":0,"messages":[{"role":"user","content":"a"}]}', "n"),
        (b'{"model":"m","messages":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
def test_a_wrong_body_is_refused_with_the_field_named(
    gateway: Callable[..., str], body: bytes, param: str | None
) -> None:
    reply = httpx.post(gateway() + PATH, content=body)

    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"{}", b'{"choices":[{}]}', b"\xff"])
def test_an_answer_that_cannot_be_judged_does_not_leave(
    gateway: Callable[..., str], script: Any, answer: bytes
) -> None:
    script.answer = lambda _path, _body: answer

    reply = ask(gateway(), user("hello"))

    assert reply.status_code == 502
    assert reply.json()["error"]["type"] == "upstream_error"


def test_fields_of_an_answer_that_nobody_judges_are_left_out(
    gateway: Callable[..., str], script: Any
) -> None:
    script.answer = lambda _path, _body: said("fine", secret_thoughts="a nasty thing")
    assert "nasty" not in ask(gateway(), user("hello")).text

    script.answer = lambda _path, _body: said("fine", reasoning_content="a nasty thing")
    body = ask(gateway(), user("hello")).json()
    assert body["choices"][0]["finish_reason"] == "content_filter"

"""POST /v1/chat/completions, streamed: nothing leaves unjudged, and what leaves is whole."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

PATH = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"


class Heard(NamedTuple):
    """What a client made of a stream."""

    texts: dict[int, str]
    ends: dict[int, str]
    calls: list[dict[str, Any]]
    events: list[dict[str, Any]]
    headers: httpx.Headers


def chunk(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": None, **more}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


def end(index: int = 0, why: str = "stop") -> dict[str, Any]:
    return chunk({}, index, finish_reason=why)


def words(text: str, index: int = 0) -> list[Any]:
    pieces = re.findall(r"\s*\S+|\s+", text)
    return [chunk({"content": piece}, index) for piece in pieces]


def cancelled(script: Any) -> bool:
    deadline = time.monotonic() + 5
    while not script.was_cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(script.was_cancelled)


def stream(url: str, content: str = "hello", **more: Any) -> Heard:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": True}
    reply = httpx.post(url + PATH, json={**body, **more}, timeout=20)
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    calls: list[dict[str, Any]] = []
    for event in events:
        for choice in event.get("choices", ()):
            index, delta = choice["index"], choice["delta"]
            texts[index] = texts.get(index, "") + (delta.get("content") or "")
            calls += delta.get("tool_calls") or ()
            if choice["finish_reason"]:
                assert index not in ends
                ends[index] = choice["finish_reason"]
    return Heard(texts, ends, calls, events, reply.headers)


def test_r3_r5_the_text_arrives_whole_with_its_decision(
    gateway: Callable[..., str], script: Any
) -> None:
    text = "Grüße, 世界! A fine thing, a nasty idea; 😀 the end."
    raw = json.dumps(chunk({"content": text}), ensure_ascii=False).encode()
    first = chunk({"role": "assistant", "content": ""})
    script.answer = lambda _p, _b: [first, *raw_event(raw, 7), end(), DONE]

    heard = stream(gateway())

    assert heard.texts == {0: text}
    assert heard.ends == {0: "stop"}
    assert heard.events[-1]["balustrade"]["action"] == "allow"
    assert heard.headers["x-balustrade-decision"].startswith("dec_")


def raw_event(raw: bytes, size: int) -> list[bytes]:
    whole = b": comment\r\ndata: " + raw + b"\r\n\r\n"
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def test_a_stream_ends_before_what_must_not_leave(gateway: Callable[..., str], script: Any) -> None:
    before, after = "one two three ", " " + "more " * 110
    script.answer = lambda _p, _b: [*words(before + "a nasty thing" + after), end(), DONE]
    script.delay = 0.01

    heard = stream(gateway())

    assert heard.ends == {0: "content_filter"}
    assert (before + "a ").startswith(heard.texts[0])
    assert heard.events[-1]["balustrade"]["rule"] == "no-nasty"
    assert cancelled(script)
    assert script.sent <= len(words(before + "a nasty thing")) + 2


def test_r4_the_same_answer_has_the_same_outcome_streamed_and_plain(
    gateway: Callable[..., str], script: Any
) -> None:
    url = gateway()
    call: dict[str, Any] = {"id": "1", "type": "function"}
    call["function"] = {"name": "sh", "arguments": '"rm -rf"'}
    messages: list[dict[str, Any]] = [
        {"content": "fine"},
        {"content": "a nasty thing"},
        {"content": None, "tool_calls": [call]},
        {"content": None, "tool_calls": [{**call, "function": {"name": "s", "arguments": "{}"}}]},
        {"content": "ok", "reasoning_content": "a nasty thing"},
        {"content": None, "refusal": "no"},
    ]
    for asked in ("hello", "forbidden"):
        for message in messages:
            answer = {"role": "assistant", **message}
            whole = {"choices": [{"index": 0, "message": answer, "finish_reason": "stop"}]}
            deltas = {**message}
            if message.get("tool_calls"):
                deltas["tool_calls"] = [{"index": 0, **message["tool_calls"][0]}]
            events = [chunk(deltas), end(), DONE]
            script.answer = lambda _p, b, e=events, w=whole: e if b.get("stream") else w
            body = {"model": "m", "messages": [{"role": "user", "content": asked}]}

            plain = httpx.post(url + PATH, json=body).json()
            streamed = stream(url, asked)

            told = streamed.events[-1]["balustrade"]
            for field in ("action", "rule", "stage"):
                assert told[field] == plain["balustrade"][field], (asked, message)
            assert streamed.ends[0] == plain["choices"][0]["finish_reason"]


def test_alternatives_are_judged_apart(gateway: Callable[..., str], script: Any) -> None:
    first, second = words("a fine long answer here"), words("such a nasty thing it is", 1)
    mixed = [event for pair in zip(first, second, strict=False) for event in pair]
    script.answer = lambda _p, _b: [*mixed, second[-1], end(0), end(1), DONE]

    heard = stream(gateway(), n=2)

    assert heard.ends == {0: "stop", 1: "content_filter"}
    assert heard.texts[0] == "a fine long answer here"
    assert "nasty" not in heard.texts[1]


def test_r19_a_tool_call_in_pieces_is_judged_whole(
    gateway: Callable[..., str], script: Any
) -> None:
    def pieces(text: str) -> list[Any]:
        first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "sh"}}
        rest = [{"index": 0, "function": {"arguments": part}} for part in re.findall("..?", text)]
        return [chunk({"tool_calls": [call]}) for call in (first, *rest)]

    url = gateway()
    script.answer = lambda _p, _b: [*pieces('{"c": "ls -l"}'), end(0, "tool_calls"), DONE]
    fine = stream(url)
    script.answer = lambda _p, _b: [*pieces('{"c": "rm -rf"}'), end(0, "tool_calls"), DONE]
    bad = stream(url)

    assert fine.ends == {0: "tool_calls"}
    assert fine.calls == [
        {
            "index": 0,
            "id": "c1",
            "type": "function",
            "function": {"name": "sh", "arguments": '{"c": "ls -l"}'},
        }
    ]
    assert bad.ends == {0: "content_filter"}
    assert bad.calls == []


def test_usage_and_unknown_top_level_fields_pass(gateway: Callable[..., str], script: Any) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    last = {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage}
    script.answer = lambda _p, _b: [
        {**chunk({"content": "hi"}), "system_fingerprint": "fp"},
        end(),
        last,
        DONE,
    ]

    heard = stream(gateway(), stream_options={"include_usage": True})

    assert heard.events[-1] == last
    assert heard.events[0]["system_fingerprint"] == "fp"
    assert script.last["stream_options"] == {"include_usage": True}


def test_log_probabilities_do_not_run_ahead_of_the_words(
    gateway: Callable[..., str], script: Any
) -> None:
    def spelt(word: str) -> dict[str, Any]:
        return chunk({"content": word}, logprobs={"content": [{"token": word, "logprob": -0.1}]})

    script.answer = lambda _p, _b: [*map(spelt, ["a", " nasty", " thing"]), end(), DONE]
    bad = stream(gateway())
    script.answer = lambda _p, _b: [*map(spelt, ["a", " nasty", " day"]), end(), DONE]
    fine = stream(gateway())

    spelt_out = [event["choices"] for event in bad.events]
    assert "nasty" not in json.dumps(spelt_out)
    tokens = [
        token["token"]
        for event in fine.events
        for choice in event["choices"]
        for token in (choice["logprobs"] or {}).get("content", ())
    ]
    assert "".join(tokens) == fine.texts[0] == "a nasty day"


@pytest.mark.parametrize("size", [1, 2, 5, 200])
def test_r21_placeholders_are_turned_back_across_chunks(
    gateway: Callable[..., str], script: Any, masking: str, size: int
) -> None:
    def echo(_path: str, body: dict[str, Any]) -> list[Any]:
        text = body["messages"][-1]["content"]
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        call = {"index": 0, "id": "1", "type": "function"}
        function = {"name": "mail", "arguments": json.dumps({"to": text})}
        return [
            *(chunk({"content": part}) for part in parts),
            chunk({"tool_calls": [{**call, "function": function}]}),
            end(),
            DONE,
        ]

    script.answer = echo
    text = 'mail "ann@example.org" and [EMAIL_9] to bob@example.org now'

    heard = stream(gateway(masking), text)

    assert "example.org" not in json.dumps(script.last)
    assert heard.texts == {0: text}
    assert json.loads(heard.calls[0]["function"]["arguments"]) == {"to": text}


@pytest.mark.parametrize(
    "broken",
    [
        [b"data: {nonsense\n\n"],
        [b"data: []\n\n"],
        [b'data: {"choices":[{"delta":{"content":1}}]}\n\n'],
        [b'data: {"error":{"message":"boom"}}\n\n'],
        [b"data: " + b"x" * 1_500_000 + b"\n\n"],
        [],
    ],
)
def test_a_stream_that_breaks_ends_with_an_error_event(
    gateway: Callable[..., str], script: Any, broken: list[bytes]
) -> None:
    script.answer = lambda _p, _b: [chunk({"content": "one two three four "}), *broken]

    heard = stream(gateway())

    assert heard.events[-1]["error"]["type"] == "upstream_error"
    assert "boom" not in json.dumps(heard.events)
    assert "one two three four ".startswith(heard.texts.get(0, ""))


def test_a_refused_request_streams_its_refusal(gateway: Callable[..., str], script: Any) -> None:
    heard = stream(gateway(), "forbidden")

    assert heard.texts == {0: "I'm sorry, but I can't help with that."}
    assert heard.ends == {0: "content_filter"}
    assert heard.events[-1]["balustrade"]["rule"] == "no-forbidden"
    assert script.asked == []


def test_an_answer_the_client_gave_up_on_is_on_record(
    gateway: Callable[..., str], script: Any
) -> None:
    url = gateway()
    script.answer = lambda _p, _b: [*words("word " * 200), end(), DONE]
    script.delay = 0.01
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    with httpx.stream("POST", url + PATH, json=body) as reply:
        next(reply.iter_bytes())
    assert cancelled(script)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        records = httpx.get(f"{url}/v1/decisions").json()["data"]
        if {record["stage"] for record in records} == {"input", "output"}:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the output stage's decision is not on record")


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_went_out_is_known_when_it_comes_back(
    gateway: Callable[..., str], script: Any, is_stream: bool
) -> None:
    message = {"role": "assistant", "content": "a fine day to you"}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    script.answer = lambda _p, _b: (
        [*words("a fine day to you"), end(), DONE] if is_stream else whole
    )
    url = gateway()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "one"}]
    body = {"model": "m", "messages": messages, "stream": is_stream}
    httpx.post(url + PATH, json=body, timeout=20)
    messages += [message, {"role": "user", "content": "two"}]
    httpx.post(url + PATH, json=body, timeout=20)

    records = httpx.get(f"{url}/v1/decisions").json()["data"]

    assert [record["stage"] for record in records] == ["output", "input"] * 2

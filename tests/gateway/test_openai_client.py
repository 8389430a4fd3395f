"""The real `openai` client, as a team uses it: only the address changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q":"x"}'}}


def upstream(path: str, body: dict[str, Any]) -> Any:
    """Answer as a model would, by what the last message says."""
    match path:
        case "/v1/embeddings":
            row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
            return {"object": "list", "data": [row], "model": "m", "usage": ANSWER["usage"]}
        case "/v1/completions":
            return completion(body)
        case "/v1/responses":
            return response(body)
        case _:
            return chat(body)


def chat(body: dict[str, Any]) -> Any:
    text = str(body["messages"][-1]["content"])
    if body.get("stream"):
        deltas: list[dict[str, Any]] = [
            {"role": "assistant", "content": ""},
            *({"content": c} for c in text),
        ]
        if body.get("tools"):
            deltas = [{"tool_calls": [{"index": 0, **CALL}]}]
        return [*(chunk(delta) for delta in deltas), chunk({}, "stop"), b"data: [DONE]\n\n"]
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if body.get("tools"):
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choices: list[dict[str, Any]] = [
        {"index": n, "message": message, "finish_reason": "stop", "logprobs": None}
        for n in range(body.get("n") or 1)
    ]
    return {**ANSWER, "choices": choices}


def chunk(delta: dict[str, Any], end: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": end}
    return {**ANSWER, "object": "chat.completion.chunk", "choices": [choice], "usage": None}


def completion(body: dict[str, Any]) -> Any:
    whole = {**ANSWER, "object": "text_completion"}
    if body.get("stream"):
        pieces = [{"index": 0, "text": c, "finish_reason": None} for c in str(body["prompt"])]
        last = {"index": 0, "text": "", "finish_reason": "stop"}
        events: list[dict[str, Any]] = [{**whole, "choices": [piece]} for piece in (*pieces, last)]
        return [*events, b"data: [DONE]\n\n"]
    choice = {"index": 0, "text": body["prompt"], "finish_reason": "stop", "logprobs": None}
    return {**whole, "choices": [choice]}


def response(body: dict[str, Any]) -> Any:
    text = body["input"] if isinstance(body["input"], str) else body["input"][-1]["content"]
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    item: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
    }
    call: dict[str, Any] = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "look"}
    output = [
        {**item, "content": [part]},
        {**call, "arguments": '{"q":"x"}', "status": "completed"},
    ]
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if not body.get("stream"):
        return whole
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "output": []}
    events = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": c, "logprobs": []} for c in text),
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": output[0]},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**call, "arguments": "", "status": "in_progress"},
        },
        {
            "type": "response.function_call_arguments.delta",
            "item_id": "fc_1",
            "output_index": 1,
            "delta": '{"q":"x"}',
        },
        {
            "type": "response.function_call_arguments.done",
            "item_id": "fc_1",
            "output_index": 1,
            "arguments": '{"q":"x"}',
        },
        {"type": "response.output_item.done", "output_index": 1, "item": output[1]},
        {"type": "response.completed", "response": whole},
    ]
    return [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n".encode()
        for n, e in enumerate(list[Any](events))
    ]


@pytest.fixture
def client(gateway: Callable[..., str], script: Any) -> Iterator[OpenAI]:
    script.answer = upstream
    with OpenAI(base_url=f"{gateway()}/v1", api_key="none", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=user("good day"), n=2)

    assert [choice.message.content for choice in answer.choices] == ["good day"] * 2
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 2


def test_chat_refused(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=user("forbidden"))

    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.model_extra is not None
    assert answer.model_extra["balustrade"]["rule"] == "no-forbidden"


def test_stream(client: OpenAI) -> None:
    with client.chat.completions.create(model="m", messages=user("good day"), stream=True) as s:
        chunks = list(s)

    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "good day"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_stream_cut(client: OpenAI) -> None:
    text = "well, a nasty thing indeed"
    with client.chat.completions.create(model="m", messages=user(text), stream=True) as s:
        chunks = list(s)

    assert "nasty" not in "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize("is_stream", [False, True])
def test_r19_tools(client: OpenAI, is_stream: bool) -> None:
    asked = {"model": "m", "messages": user("hi"), "tools": TOOLS}
    if is_stream:
        with client.chat.completions.stream(**asked) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(**asked)

    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("look", '{"q":"x"}')


def test_responses(client: OpenAI) -> None:
    answer = client.responses.create(model="m", input="good day", instructions="be kind")
    refused = client.responses.create(model="m", input=user("forbidden"))
    filtered = client.responses.create(model="m", input="a nasty thing")

    assert answer.output_text == "good day"
    assert answer.output[1].type == "function_call"
    for stopped in (refused, filtered):
        assert stopped.status == "incomplete"
        assert stopped.incomplete_details is not None
        assert stopped.incomplete_details.reason == "content_filter"
        assert stopped.output_text == ""


def test_responses_streamed(client: OpenAI) -> None:
    with client.responses.stream(model="m", input="good day to you all") as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()

    assert answer.output_text == "good day to you all"
    assert answer.output[1].type == "function_call"
    assert answer.output[1].arguments == '{"q":"x"}'
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


@pytest.mark.parametrize("text", ["well, a nasty thing indeed", "forbidden"])
def test_responses_stream_cut(client: OpenAI, text: str) -> None:
    with client.responses.create(model="m", input=text, stream=True) as stream:
        events = list(stream)

    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert "nasty" not in said
    assert events[-1].type == "response.incomplete"
    details = events[-1].response.incomplete_details
    assert details is not None
    assert details.reason == "content_filter"


def test_completions(client: OpenAI) -> None:
    plain = client.completions.create(model="m", prompt="good day")
    with client.completions.create(model="m", prompt="good day", stream=True) as stream:
        pieces = [c.choices[0].text for c in stream]
    cut = client.completions.create(model="m", prompt="a nasty thing")

    assert plain.choices[0].text == "".join(pieces) == "good day"
    assert cut.choices[0].finish_reason == "content_filter"


def test_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model="m", input=["good day"], encoding_format="float")

    assert answer.data[0].embedding == [0.5, 0.25]
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(model="m", input=["fine", "forbidden"])
    assert caught.value.code == "content_filter"


def test_moderations(client: OpenAI) -> None:
    one = client.moderations.create(input="good day")
    many = client.moderations.create(input=["good day", "forbidden"])
    parts: Any = [{"type": "text", "text": "forbidden"}]
    typed = client.moderations.create(input=parts)

    assert [result.flagged for result in one.results] == [False]
    assert [result.flagged for result in many.results] == [False, True]
    assert typed.results[0].flagged
    assert set(one.results[0].categories.to_dict()) == set(
        many.results[1].category_scores.to_dict()
    )
    assert len(one.results[0].categories.to_dict()) == 13


def test_errors(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=[])

    assert caught.value.param == "messages"
    assert caught.value.type == "invalid_request_error"

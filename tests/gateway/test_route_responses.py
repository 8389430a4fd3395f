"""`[stage.route]` on /v1/responses: free, careful and refused, plain and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

PATH = "/v1/responses"
ROUTE = """
[stage.route]
guard = "watch"
restrictive = ["Do not pick locks for strangers."]
directive = ["You speak for a locksmiths' school."]
"""
GUARDS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
MAINS = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
BOTH = {"input_tokens": 107, "output_tokens": 23, "total_tokens": 130}
ASKED = "How does a lock work?"

both_ways = pytest.mark.parametrize("stream", [False, True])


def careful(text: str) -> str:
    return json.dumps({"reevaluation": "SECRET THOUGHT", "final_response": text})


def message(*texts: str) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": parts}


CALL = {"id": "f", "type": "function_call", "call_id": "c", "name": "sum", "arguments": "[1]"}


def whole(*output: dict[str, Any]) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": [*output],
            "usage": MAINS}  # fmt: skip


def told(text: str) -> Iterator[dict[str, Any]]:
    """Yield what a server streams that says a text."""
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {**whole(), "status": "in_progress", "usage": None}
    yield {"type": "response.created", "response": empty}
    yield {"type": "response.output_item.added", "output_index": 0, "item": message()}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **at, "part": part}
    for word in text.split():
        yield {"type": "response.output_text.delta", **at, "delta": word + " "}
    yield {"type": "response.output_text.done", **at, "text": text}
    yield {"type": "response.content_part.done", **at, "part": {**part, "text": text}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": message(text)}
    yield {"type": "response.completed", "response": whole(message(text))}


def play(script: Any, route: str, *output: dict[str, Any]) -> None:
    """Have the upstream serve the guard `watch`, and the main model."""

    def answer(path: str, body: dict[str, Any]) -> Any:
        if body["model"] == "watch":
            assert path == "/v1/chat/completions"
            notes = json.dumps({"check": "A check.", "tip": "A tip.", "route": route})
            choice = {"index": 0, "message": {"role": "assistant", "content": notes}}
            return {"id": "c", "choices": [choice], "usage": GUARDS}
        assert path == PATH
        return told(output[0]["content"][0]["text"]) if body.get("stream") else whole(*output)

    script.answer = answer


def ask(url: str, given: Any = ASKED, **more: Any) -> httpx.Response:
    return httpx.post(url + PATH, json={"model": "m", "input": given, **more}, timeout=20)


def ended(reply: httpx.Response) -> dict[str, Any]:
    """Return the whole response, which a stream ends with."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        found: dict[str, Any] = reply.json()
        return found
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    found = events[-1]["response"]
    said = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert said.strip() == text_of(found).strip()
    return found


def text_of(response: dict[str, Any]) -> str:
    items = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for item in items for part in item["content"])


def asked(script: Any, model: str) -> list[dict[str, Any]]:
    return [body for _, body in script.asked if body["model"] == model]


@both_ways
@pytest.mark.parametrize("given", [ASKED, [{"role": "user", "content": ASKED}]])
def test_a_request_of_no_risk_is_answered_freely_with_the_tip(
    gateway: Callable[..., str], script: Any, policy: str, given: Any, stream: bool
) -> None:
    play(script, "no_to_minimal_risk", message("Pins fall into place."))
    reply = ask(gateway(policy + ROUTE), given, stream=stream, max_output_tokens=50)
    assert text_of(ended(reply)).strip() == "Pins fall into place."
    [main] = asked(script, "m")
    first, request, last = main["input"]
    assert (first["role"], request["role"], last["role"]) == ("system", "user", "system")
    assert "locksmiths' school" in first["content"]
    assert "Do not pick locks" not in first["content"]
    assert request["content"] == ASKED
    assert "A tip." in last["content"]
    assert main["max_output_tokens"] == 50
    [guard] = asked(script, "watch")
    assert ASKED in guard["messages"][-1]["content"]


@both_ways
def test_a_careful_answer_is_unpacked_before_any_of_it_leaves(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "potential_violation", message(careful("In general:\n- pins\n- a  cylinder")))
    own = {"verbosity": "low", "format": {"type": "json_object"}}
    more = {"text": own, "top_logprobs": 3, "include": ["message.output_text.logprobs"]}
    reply = ask(gateway(policy + ROUTE), stream=stream, max_output_tokens=50, **more)
    found = ended(reply)
    assert text_of(found) == "In general:\n- pins\n- a  cylinder"
    assert found["status"] == "completed"
    assert "SECRET" not in reply.text
    [main] = asked(script, "m")
    assert not {"stream", "top_logprobs", "include"} & main.keys()
    assert main["max_output_tokens"] > 50
    assert main["text"]["verbosity"] == "low"
    assert main["text"]["format"]["type"] == "json_schema"
    assert main["text"]["format"]["schema"]["required"] == ["reevaluation", "final_response"]
    assert "Do not pick locks" in main["input"][0]["content"]
    assert "final_response" in main["input"][-1]["content"]


@both_ways
def test_calls_and_refusals_beside_a_careful_answer_stay(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    said = message(careful("Let me add up."))
    said["content"].append({"type": "refusal", "refusal": "Not that."})
    reasoning = {"id": "r", "type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]}
    play(script, "potential_violation", reasoning, said, CALL)
    found = ended(ask(gateway(policy + ROUTE), stream=stream))
    first, second, third = found["output"]
    assert first["summary"] == reasoning["summary"]
    assert [part.get("text", part.get("refusal")) for part in second["content"]] == [
        "Let me add up.", "Not that.",
    ]  # fmt: skip
    assert third["arguments"] == "[1]"


@both_ways
def test_a_direct_violation_is_refused_and_on_record(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "direct_violation")
    url = gateway(policy + ROUTE)
    reply = ask(url, stream=stream)
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    found = json.loads(lines[-1])["response"] if stream else reply.json()
    assert found["output"][0]["content"][0]["refusal"] == "I'm sorry, but I can't help with that."
    assert found["usage"] == {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    assert asked(script, "m") == []
    record = httpx.get(f"{url}/v1/decisions/{reply.headers['x-balustrade-decision']}").json()
    assert "direct-violation" in json.dumps(record)


@both_ways
def test_what_a_careful_answer_says_is_judged_like_any(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "potential_violation", message(careful("Well, a nasty thing it is.")))
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert "nasty thing" not in reply.text
    assert "content_filter" in reply.text


@both_ways
@pytest.mark.parametrize("broken", ["I will just answer.", '{"reevaluation": "SECRET THOUGHT"', ""])
def test_a_careful_answer_that_cannot_be_read_is_refused(
    gateway: Callable[..., str], script: Any, policy: str, broken: str, stream: bool
) -> None:
    play(script, "potential_violation", message(broken))
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert "I'm sorry, but I can't help with that." in reply.text
    assert "SECRET" not in reply.text
    assert "just answer" not in reply.text
    assert reply.headers["x-balustrade-action"] == "block"


@pytest.mark.parametrize("odd", [b"[]", b"{}", b'{"output": [1]}', b'{"output": 7}', b"<html>"])
def test_what_is_no_response_is_an_error_of_upstream(
    gateway: Callable[..., str], script: Any, policy: str, odd: bytes
) -> None:
    play(script, "potential_violation")
    inner = script.answer
    script.answer = lambda path, body: odd if body["model"] == "m" else inner(path, body)
    reply = ask(gateway(policy + ROUTE))
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "upstream_broken"


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {
            "input": [
                {"type": "item_reference", "id": "msg_0"},
                {"role": "user", "content": "Go on"},
            ]
        },
    ],
)
def test_what_the_guard_does_not_see_whole_is_answered_with_care(
    gateway: Callable[..., str], script: Any, policy: str, more: dict[str, Any]
) -> None:
    play(script, "no_to_minimal_risk", message(careful("With care.")))
    url = gateway(policy + ROUTE)
    reply = ask(url, **{"given": more.pop("input", "Go on"), **more})
    assert text_of(ended(reply)) == "With care."
    record = httpx.get(f"{url}/v1/decisions/{reply.headers['x-balustrade-decision']}").text
    assert "does not see all" in record


@pytest.mark.parametrize("taken", [(), ("json_object",)])
def test_a_careful_answer_is_asked_for_in_the_strictest_form_its_upstream_takes(
    gateway: Callable[..., str], script: Any, policy: str, taken: tuple[str, ...]
) -> None:
    def kind(body: dict[str, Any]) -> str | None:
        found: str | None = body.get("text", {}).get("format", {}).get("type")
        return found

    play(script, "potential_violation", message(careful("with care")))
    script.refuses = lambda body: body["model"] == "m" and kind(body) not in {*taken, None}
    url = gateway(policy + ROUTE)
    for content in ("one", "two"):
        assert text_of(ended(ask(url, content))) == "with care"
    last = taken[0] if taken else None
    tried = ["json_schema", "json_object", *([] if taken else [None]), last]
    assert [kind(body) for body in asked(script, "m")] == tried


@both_ways
@pytest.mark.parametrize("route", ["no_to_minimal_risk", "potential_violation"])
def test_usage_counts_all_calls_of_a_routed_request(
    gateway: Callable[..., str], script: Any, policy: str, route: str, stream: bool
) -> None:
    is_careful = route == "potential_violation"
    play(script, route, message(careful("fine") if is_careful else "fine"))
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert ended(reply)["usage"] == BOTH
    roles = [call.partition(";")[0] for call in reply.headers["x-balustrade-calls"].split(", ")]
    second = "reevaluation" if is_careful else "answer"
    assert roles == (["router"] if stream and not is_careful else ["router", second])


@pytest.mark.parametrize("route", ["no_to_minimal_risk", "potential_violation"])
def test_the_official_client_reads_routed_streams(
    gateway: Callable[..., str], script: Any, policy: str, route: str
) -> None:
    is_careful = route == "potential_violation"
    said = "Pins fall into place."
    play(script, route, message(careful(said) if is_careful else said))
    url = gateway(policy + ROUTE) + "/v1"
    with (
        OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        client.responses.stream(model="m", input=ASKED) as stream,
    ):
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        found = stream.get_final_response()
    assert "".join(deltas).strip() == said
    assert found.output_text.strip() == said

"""`[stage.route]` in the gateway: free, careful and refused, plain and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PATH = "/v1/chat/completions"
ROUTE = """
[stage.route]
guard = "watch"
restrictive = ["Do not pick locks for strangers."]
directive = ["You speak for a locksmiths' school."]
"""
OBJECT = {"check": "A check.", "tip": "A tip."}


GUARDS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
MAINS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def said(*texts: str) -> dict[str, Any]:
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate(texts)
    ]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def careful(text: str) -> str:
    return json.dumps({"reevaluation": "SECRET THOUGHT", "final_response": text})


def play(script: Any, route: str, *answers: str) -> None:
    """Have the upstream serve the guard `watch`, and the main model."""

    def answer(_path: str, body: dict[str, Any]) -> Any:
        if body["model"] == "watch":
            return said(json.dumps({**OBJECT, "route": route}))
        if not body.get("stream"):
            return said(*answers)
        words: list[dict[str, Any]] = [
            {"delta": {"content": word + " "}} for word in answers[0].split()
        ]
        chunks = [*words, {"delta": {}, "finish_reason": "stop"}]
        events = [{"id": "c", "choices": [{"index": 0, **each}]} for each in chunks]
        return [*events, b"data: [DONE]\n\n"]

    script.answer = answer


def ask(url: str, content: str = "How does a lock work?", **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **more}
    return httpx.post(url + PATH, json=body, timeout=20)


def text_of(reply: httpx.Response) -> str:
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return str(reply.json()["choices"][0]["message"]["content"])
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    deltas = [c["delta"] for line in lines[:-1] for c in json.loads(line)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def asked(script: Any, model: str) -> list[dict[str, Any]]:
    return [body for _, body in script.asked if body["model"] == model]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_of_no_risk_is_answered_freely_with_the_tip(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "no_to_minimal_risk", "Pins fall into place.")
    reply = ask(gateway(policy + ROUTE), stream=stream, temperature=0.7)
    assert text_of(reply).strip() == "Pins fall into place."
    [main] = asked(script, "m")
    first, request, last = main["messages"]
    assert "locksmiths' school" in first["content"]
    assert "Do not pick locks" not in first["content"]
    assert request == {"role": "user", "content": "How does a lock work?"}
    assert "A tip." in last["content"]
    assert main["temperature"] == 0.7
    [guard] = asked(script, "watch")
    assert "Do not pick locks" in guard["messages"][0]["content"]
    assert guard["temperature"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_careful_answer_is_unpacked_before_any_of_it_leaves(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "potential_violation", careful("In general:\n- pins\n- a  cylinder"))
    reply = ask(gateway(policy + ROUTE), stream=stream, max_tokens=50)
    assert text_of(reply) == "In general:\n- pins\n- a  cylinder"
    assert "SECRET" not in reply.text
    [main] = asked(script, "m")
    assert not main.get("stream")
    assert main["max_tokens"] > 50
    assert main["response_format"]["type"] == "json_schema"
    assert "Do not pick locks" in main["messages"][0]["content"]
    assert "final_response" in main["messages"][-1]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_direct_violation_is_refused_and_on_record(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "direct_violation", "never")
    url = gateway(policy + ROUTE)
    reply = ask(url, stream=stream)
    assert text_of(reply) == "I'm sorry, but I can't help with that."
    assert asked(script, "m") == []
    record = httpx.get(f"{url}/v1/decisions/{reply.headers['x-balustrade-decision']}").json()
    assert "direct-violation" in json.dumps(record)
    assert reply.headers["x-balustrade-action"] == "block"


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_careful_answer_says_is_judged_like_any(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "potential_violation", careful("Well, a nasty thing it is."))
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert "nasty thing" not in text_of(reply)
    assert "content_filter" in reply.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("broken", ["I will just answer.", '{"reevaluation": "SECRET THOUGHT"', ""])
def test_a_careful_answer_that_cannot_be_read_is_refused(
    gateway: Callable[..., str], script: Any, policy: str, broken: str, stream: bool
) -> None:
    play(script, "potential_violation", broken)
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert text_of(reply) == "I'm sorry, but I can't help with that."
    assert reply.headers["x-balustrade-action"] == "block"


def test_a_guard_that_cannot_be_had_means_care(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    script.answer = lambda _path, body: (
        b"not json" if body["model"] == "watch" else said(careful("With care."))
    )
    assert text_of(ask(gateway(policy + ROUTE))) == "With care."
    slow = ROUTE.replace("[stage.route]", "[stage.route]\ntimeout = 0.05")
    play(script, "no_to_minimal_risk", careful("With care."))
    script.answer = _slowly(script.answer)
    assert text_of(ask(gateway(policy + slow), "Another?")) == "With care."


def _slowly(answer: Callable[[str, dict[str, Any]], Any]) -> Callable[[str, dict[str, Any]], Any]:
    def slow(path: str, body: dict[str, Any]) -> Any:
        if body["model"] == "watch":
            import time

            time.sleep(0.3)
        return answer(path, body)

    return slow


def test_a_route_is_remembered_for_the_same_request_and_guidelines(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "no_to_minimal_risk", "fine")
    url = gateway(policy + ROUTE)
    for content in ("one", "one", "two", "one"):
        assert text_of(ask(url, content)) == "fine"
    assert len(asked(script, "watch")) == 2
    assert len(asked(script, "m")) == 4


def test_each_alternative_of_a_careful_answer_is_unpacked(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "potential_violation", careful("one"), careful("two"))
    reply = ask(gateway(policy + ROUTE), n=2)
    assert [c["message"]["content"] for c in reply.json()["choices"]] == ["one", "two"]


def test_the_input_rail_comes_first(gateway: Callable[..., str], script: Any, policy: str) -> None:
    play(script, "no_to_minimal_risk", "fine")
    reply = ask(gateway(policy + ROUTE), "the forbidden word")
    assert reply.json()["balustrade"]["rule"] == "no-forbidden"
    assert script.asked == []


def test_options_an_upstream_does_not_take_are_left_out(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    def answer(_path: str, body: dict[str, Any]) -> Any:
        if body["model"] != "watch":
            return said("fine")
        return said(json.dumps({**OBJECT, "route": "no_to_minimal_risk"}))

    script.answer = answer
    script.refuses = lambda body: "logprobs" in body or "response_format" in body
    url = gateway(policy + ROUTE)
    for content in ("one", "two"):
        assert text_of(ask(url, content)) == "fine"
    sent = asked(script, "watch")
    assert [("response_format" in b, "logprobs" in b) for b in sent][-2:] == [(False, False)] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/completions", {"prompt": "hi"})],
)
def test_no_way_leads_past_the_route(
    gateway: Callable[..., str], script: Any, policy: str, path: str, body: dict[str, Any]
) -> None:
    reply = httpx.post(gateway(policy + ROUTE) + path, json={"model": "m", **body}, timeout=20)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "route_not_supported"
    assert script.asked == []


@pytest.mark.parametrize("taken", [(), ("json_object",)])
def test_a_careful_answer_is_asked_for_in_the_strictest_form_its_upstream_takes(
    gateway: Callable[..., str], script: Any, policy: str, taken: tuple[str, ...]
) -> None:
    def kind(body: dict[str, Any]) -> str | None:
        found: str | None = body.get("response_format", {}).get("type")
        return found

    play(script, "potential_violation", careful("with care"))
    script.refuses = lambda body: body["model"] == "m" and kind(body) not in {*taken, None}
    url = gateway(policy + ROUTE)
    for content in ("one", "two"):
        assert text_of(ask(url, content)) == "with care"
    last = taken[0] if taken else None
    tried = ["json_schema", "json_object", *([] if taken else [None]), last]
    assert [kind(body) for body in asked(script, "m")] == tried


def with_usage(script: Any, *, streamed: bool = True) -> None:
    """Have the upstream count tokens; at the end of a stream only where it counts there too."""
    inner = script.answer

    def answer(path: str, body: dict[str, Any]) -> Any:
        made = inner(path, body)
        usage = GUARDS if body["model"] == "watch" else MAINS
        if isinstance(made, dict):
            return {**made, "usage": usage}
        last = {"id": "c", "choices": [], "usage": usage}
        return [*made[:-1], last, made[-1]] if streamed else made

    script.answer = answer


def usage_of(reply: httpx.Response) -> dict[str, Any] | None:
    if not reply.headers["content-type"].startswith("text/event-stream"):
        found: dict[str, Any] | None = reply.json().get("usage")
        return found
    events = [json.loads(line[6:]) for line in reply.text.splitlines()[:-2] if line]
    return next((each["usage"] for each in events if each.get("usage")), None)


def calls_of(reply: httpx.Response) -> list[tuple[str, int, int]]:
    """Return who was asked and the tokens, as the header says; each took some time."""
    calls = []
    for call in reply.headers["x-balustrade-calls"].split(", "):
        role, *fields = call.split(";")
        known = dict(field.split("=") for field in fields)
        assert float(known["seconds"]) >= 0
        calls.append((role, int(known["prompt"]), int(known["completion"])))
    return calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["no_to_minimal_risk", "potential_violation"])
def test_usage_counts_all_calls_of_a_routed_request(
    gateway: Callable[..., str], script: Any, policy: str, route: str, stream: bool
) -> None:
    careful_ = route == "potential_violation"
    play(script, route, careful("fine") if careful_ else "fine")
    with_usage(script)
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert text_of(reply).strip() == "fine"
    assert usage_of(reply) == {"prompt_tokens": 107, "completion_tokens": 23, "total_tokens": 130}
    router, answer = ("router", 100, 20), ("reevaluation" if careful_ else "answer", 7, 3)
    known_by_the_head = [router] if stream and not careful_ else [router, answer]
    assert calls_of(reply) == known_by_the_head


def test_a_refused_request_costs_its_route(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "direct_violation", "never")
    with_usage(script)
    reply = ask(gateway(policy + ROUTE))
    assert usage_of(reply) == GUARDS
    assert calls_of(reply) == [("router", 100, 20)]


def test_a_route_from_memory_costs_nothing(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "no_to_minimal_risk", "fine")
    with_usage(script)
    url = gateway(policy + ROUTE)
    ask(url)
    reply = ask(url)
    assert usage_of(reply) == MAINS
    assert calls_of(reply) == [("router", 0, 0), ("answer", 7, 3)]
    assert "router;seconds=0.000;" in reply.headers["x-balustrade-calls"]


@pytest.mark.parametrize("stream", [False, True])
def test_no_usage_is_made_up(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    play(script, "no_to_minimal_risk", "fine")
    if stream:
        with_usage(script, streamed=False)
    reply = ask(gateway(policy + ROUTE), stream=stream)
    assert text_of(reply).strip() == "fine"
    assert usage_of(reply) is None


def test_a_request_that_is_not_routed_has_its_own_usage_and_no_list_of_calls(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    script.answer = lambda _path, _body: {**said("fine"), "usage": MAINS}
    reply = ask(gateway(policy))
    assert usage_of(reply) == MAINS
    assert "x-balustrade-calls" not in reply.headers


def test_a_guard_that_is_late_is_on_the_bill_with_its_time(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "no_to_minimal_risk", careful("With care."))
    with_usage(script)
    script.answer = _slowly(script.answer)
    slow = ROUTE.replace("[stage.route]", "[stage.route]\ntimeout = 0.05")
    reply = ask(gateway(policy + slow))
    assert text_of(reply) == "With care."
    assert reply.headers["x-balustrade-calls"].startswith("router;seconds=0.050;prompt=0;")
    assert calls_of(reply)[1] == ("reevaluation", 7, 3)
    assert usage_of(reply) == MAINS


@pytest.mark.parametrize("stream", [False, True])
def test_every_draft_of_a_routed_answer_is_paid_for(
    gateway: Callable[..., str], script: Any, policy: str, stream: bool
) -> None:
    again = policy.replace('"no-nasty"', '"no-nasty"\naction = "regenerate"') + ROUTE
    drafts = ["A nasty thing.", "Kind."]
    play(script, "no_to_minimal_risk")
    guard = script.answer
    script.answer = lambda path, body: (
        guard(path, body) if body["model"] == "watch" else said(drafts.pop(0))
    )
    with_usage(script)
    reply = ask(gateway(again), stream=stream)
    assert text_of(reply) == "Kind."
    assert calls_of(reply) == [("router", 100, 20), ("answer", 7, 3), ("answer", 7, 3)]
    assert usage_of(reply) == {"prompt_tokens": 114, "completion_tokens": 26, "total_tokens": 140}


def test_what_routing_costs_is_counted_by_role(
    gateway: Callable[..., str], script: Any, policy: str
) -> None:
    play(script, "no_to_minimal_risk", "fine")
    with_usage(script)
    url = gateway(policy + ROUTE)
    for stream in (False, True):
        ask(url, stream=stream)
    told = httpx.get(f"{url}/metrics", timeout=20).text
    assert 'balustrade_route_tokens_total{role="router",kind="prompt"} 100\n' in told
    assert 'balustrade_route_tokens_total{role="answer",kind="completion"} 6\n' in told
    assert 'balustrade_route_seconds_count{role="router"} 1\n' in told
    assert 'balustrade_route_seconds_count{role="answer"} 2\n' in told

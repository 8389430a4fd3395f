from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec.structs import replace

from balustrade.backends.openai import OpenAI, Server
from balustrade.core.call import (
    Advance,
    Call,
    Chat,
    Classify,
    Embed,
    Failed,
    Generate,
    Likelihood,
    Reply,
    Spoken,
    Texts,
    Token,
    Vectors,
)
from balustrade.core.content import Content
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.judge import Criterion, Judge

Body = dict[str, Any]


class Script:
    """A server on loopback that answers by a script and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Body, dict[str, str]]] = []
        self.answer: Callable[[str, Body], tuple[int, Any]] = lambda _path, _body: (200, {})
        self.headers: dict[str, str] = {}
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                script.asked.append((self.path, body, dict(self.headers)))
                status, answer = script.answer(self.path, body)
                if status == 0:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in script.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.close()


@pytest.fixture
def backend(script: Script) -> Iterator[OpenAI]:
    made = OpenAI(Server(script.url, wait=0.001, timeout=5.0))
    yield made
    made.close()


def completion(text: str, tokens: Sequence[tuple[str, float]] = ()) -> Body:
    choice: Body = {"index": 0, "message": {"role": "assistant", "content": text}}
    if tokens:
        top = [{"token": token, "logprob": logprob} for token, logprob in tokens]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return {"id": "x", "object": "chat.completion", "choices": [choice]}


def one(backend: OpenAI, call: Call) -> Reply:
    [reply] = backend.send((call,))
    return reply


def test_each_prompt_is_continued(script: Script, backend: OpenAI) -> None:
    script.answer = lambda _path, body: (200, completion(body["messages"][-1]["content"].upper()))
    call = Generate("m", ("one", "two"), system="Shout.", max_tokens=9)
    assert one(backend, call) == Texts(("ONE", "TWO"))
    path, body, _ = script.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"][0] == {"role": "system", "content": "Shout."}
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 9, 0)
    assert "logprobs" not in body


def test_log_probabilities_are_those_of_the_answers_token(script: Script, backend: OpenAI) -> None:
    script.answer = lambda _path, _body: (200, completion("A", [("A", -0.1), ("B", -2.5)]))
    reply = one(backend, Generate("m", ("q",), choices=("A", "B"), logprobs=50))
    assert reply == Texts(("A",), ({"A": -0.1, "B": -2.5},))
    assert script.asked[0][1]["top_logprobs"] == 20
    assert script.asked[0][1]["guided_choice"] == ["A", "B"]


def picky(*refused: str) -> Callable[[str, Body], tuple[int, Any]]:
    def answer(_path: str, body: Body) -> tuple[int, Any]:
        for option in refused:
            if option in body:
                return 400, {"error": {"message": f"unknown parameter: {option}"}}
        wrapped = "response_format" in body
        return 200, completion('{"answer": "B"}' if wrapped else "B")

    return answer


@pytest.mark.parametrize(
    ("refused", "requests"),
    [
        ((), 1),
        (("guided_choice",), 2),
        (("guided_choice", "response_format"), 3),
        (("guided_choice", "response_format", "logprobs"), 4),
        (("guided_choice", "response_format", "logprobs", "max_tokens"), 5),
    ],
)
def test_what_a_server_refuses_is_left_out_and_not_tried_again(
    script: Script, backend: OpenAI, refused: tuple[str, ...], requests: int
) -> None:
    script.answer = picky(*refused)
    call = Generate("m", ("q",), choices=("A", "B"), logprobs=5)
    assert one(backend, call) == Texts(("B",))
    assert len(script.asked) == requests
    assert one(backend, call) == Texts(("B",))
    assert len(script.asked) == requests + 1


def test_a_request_that_is_wrong_however_asked_fails_with_the_servers_reason(
    script: Script, backend: OpenAI
) -> None:
    script.answer = lambda _path, _body: (400, {"error": {"message": "context too long"}})
    reply = one(backend, Generate("m", ("q",)))
    assert reply == Failed("model 'm' answered with HTTP 400: context too long")
    script.answer = lambda _path, _body: (200, completion("A"))
    one(backend, Generate("m", ("q",), choices=("A",)))
    assert "guided_choice" in script.asked[-1][1]


def test_moderations_become_scores_by_label(script: Script, backend: OpenAI) -> None:
    rows = [{"category_scores": {"hate": 0.25, "violence": 0.5}}, {"category_scores": {"hate": 1}}]
    script.answer = lambda _path, _body: (200, {"results": rows})
    reply = one(backend, Classify("m", ("a", "b")))
    assert isinstance(reply, Vectors)
    assert (reply.labels, reply.rows()) == (("hate", "violence"), [[0.25, 0.5], [1.0, 0.0]])
    assert script.asked[0][:2] == ("/v1/moderations", {"model": "m", "input": ["a", "b"]})


def test_embeddings_are_put_in_the_order_of_their_texts(script: Script, backend: OpenAI) -> None:
    rows = [{"index": 1, "embedding": [2.0, 3.0]}, {"index": 0, "embedding": [0.0, 1.0]}]
    script.answer = lambda _path, _body: (200, {"data": rows})
    reply = one(backend, Embed("m", ("a", "b")))
    assert isinstance(reply, Vectors)
    assert reply.rows() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("call", "answer", "error"),
    [
        (Embed("m", ("a", "b")), {"data": [{"index": 0, "embedding": [1]}]}, "1 answers for 2"),
        (Classify("m", ("a",)), {"results": []}, "0 answers for 1"),
        (Generate("m", ("a",)), {"choices": []}, "no choices"),
        (Generate("m", ("a",)), {"choice": 1}, "an answer of another form"),
        (Generate("m", ("a",)), b"<html>", "an answer of another form"),
        (Generate("m", ("a",)), b"\xff\xfe", "an answer of another form"),
    ],
)
def test_an_answer_of_the_wrong_form_is_a_failure(
    script: Script, backend: OpenAI, call: Call, answer: object, error: str
) -> None:
    script.answer = lambda _path, _body: (200, answer)
    reply = one(backend, call)
    assert isinstance(reply, Failed)
    assert error in reply.error


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(script: Script, backend: OpenAI, status: int) -> None:
    script.answer = lambda _path, _body: (
        (status, {}) if len(script.asked) < 3 else (200, completion("ok"))
    )
    assert one(backend, Generate("m", ("q",))) == Texts(("ok",))
    assert len(script.asked) == 3


@pytest.mark.parametrize(("status", "times"), [(429, 3), (500, 3), (401, 1), (404, 1)])
def test_what_does_not_pass_is_a_failure(
    script: Script, backend: OpenAI, status: int, times: int
) -> None:
    script.answer = lambda _path, _body: (status, {"error": "no"})
    reply = one(backend, Generate("m", ("q",)))
    assert reply == Failed(f"model 'm' answered with HTTP {status}: no")
    assert len(script.asked) == times


def test_one_failing_call_leaves_the_others_alone(script: Script, backend: OpenAI) -> None:
    script.answer = lambda path, _body: (
        (404, {}) if path.endswith("/embeddings") else (200, completion("ok"))
    )
    replies = backend.send((Generate("m", ("a",)), Embed("e", ("b",)), Generate("m", ("c",))))
    assert replies == [
        Texts(("ok",)),
        Failed("model 'e' answered with HTTP 404"),
        Texts(("ok",)),
    ]


def test_calls_no_server_answers_are_failures_without_a_request(
    script: Script, backend: OpenAI
) -> None:
    replies = backend.send((Likelihood("m", ("a",), ("b",)), Advance("m", (None,), ("c",))))
    assert [type(reply) for reply in replies] == [Failed, Failed]
    assert script.asked == []


def test_a_server_out_of_reach_is_a_failure(script: Script) -> None:
    url = script.url.replace(str(script._server.server_port), "1")
    backend = OpenAI(Server(url, wait=0.001))
    reply = one(backend, Generate("m", ("q",)))
    backend.close()
    assert reply == Failed("model 'm' did not answer: ConnectError")


def test_a_server_that_hangs_is_given_up(script: Script) -> None:
    release = threading.Event()

    def hang(_path: str, _body: Body) -> tuple[int, Any]:
        release.wait(10)
        return 200, completion("late")

    script.answer = hang
    backend = OpenAI(Server(script.url, timeout=0.1))
    reply = one(backend, Generate("m", ("q",)))
    release.set()
    backend.close()
    assert reply == Failed("model 'm' did not answer: ReadTimeout")
    assert len(script.asked) == 1


def test_the_key_is_read_from_the_environment(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.answer = lambda _path, _body: (200, completion("ok"))
    backend = OpenAI(Server(script.url, key_env="BALUSTRADE_TEST_KEY", model="theirs"))
    missing = one(backend, Generate("ours", ("q",)))
    assert missing == Failed("the environment variable 'BALUSTRADE_TEST_KEY' holds no key")
    monkeypatch.setenv("BALUSTRADE_TEST_KEY", "k" * 8)
    assert one(backend, Generate("ours", ("q",))) == Texts(("ok",))
    backend.close()
    _, body, headers = script.asked[-1]
    assert body["model"] == "theirs"
    assert {k.lower(): v for k, v in headers.items()}["authorization"] == "Bearer " + "k" * 8


def test_no_more_requests_are_in_flight_than_allowed(script: Script) -> None:
    lock, gate = threading.Lock(), threading.Event()
    flying, most = 0, 0

    def answer(_path: str, _body: Body) -> tuple[int, Any]:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
            if flying == 3:
                gate.set()
        gate.wait(5)
        with lock:
            flying -= 1
        return 200, completion("ok")

    script.answer = answer
    backend = OpenAI(Server(script.url, concurrency=3))
    assert one(backend, Generate("m", ("q",) * 12)) == Texts(("ok",) * 12)
    backend.close()
    assert most == 3


def test_r17_one_backend_serves_several_loops_in_turn_and_threads(
    script: Script, backend: OpenAI
) -> None:
    script.answer = lambda _path, body: (200, completion(body["messages"][-1]["content"]))
    seen: list[Sequence[Reply]] = []

    async def ask(text: str) -> None:
        seen.append(await backend.asend((Generate("m", (text,)),)))

    async def ask_sync() -> None:
        seen.append(backend.send((Generate("m", ("inside",)),)))

    asyncio.run(ask("first"))
    asyncio.run(ask("second"))
    asyncio.run(ask_sync())
    thread = threading.Thread(target=lambda: asyncio.run(ask("third")))
    thread.start()
    thread.join()
    assert seen == [[Texts((text,))] for text in ("first", "second", "inside", "third")]


def test_a_judge_gets_its_scores_from_a_served_model(script: Script, backend: OpenAI) -> None:
    script.answer = lambda _path, body: (
        200,
        completion("B" if "fool" in body["messages"][-1]["content"] else "A"),
    )
    judge = Judge("m", (Criterion("rude", "The message insults someone."),))
    batch = [Content.of("You fool"), Content.of("Good day")]
    verdicts = run(judge.check(batch), backend.send)
    assert verdicts == [Verdict("judge", (Finding("rude", 1.0),)), Verdict("judge")]


def test_r8_a_served_model_that_chats_is_a_failure(script: Script, backend: OpenAI) -> None:
    script.answer = lambda _path, _body: (200, completion("Yes, B seems right"))
    judge = Judge("m", (Criterion("rude", "The message insults someone."),))
    [verdict] = run(judge.check([Content.of("You fool")]), backend.send)
    assert verdict == Verdict("judge", error="the model's answer is none of its choices")


def test_a_server_needs_an_address() -> None:
    with pytest.raises(ValueError, match="expected base_url to start with http"):
        Server("file:///etc/passwd")


def test_a_raw_prompt_is_completed_as_it_stands_but_for_the_server_s_own_beginning(
    script: Script, backend: OpenAI
) -> None:
    top = [{"safe": -0.1, "unsafe": -2.4}, None]
    choice = {"text": "safe", "logprobs": {"tokens": ["safe"], "top_logprobs": top}}
    script.answer = lambda _path, _body: (200, {"choices": [choice]})
    prompt = "<|begin_of_text|>Task: judge <|begin_of_text|>"
    call = Generate("m", (prompt,), choices=("safe", "unsafe"), logprobs=20, max_tokens=4, raw=True)
    assert one(backend, call) == Texts(("safe",), ({"safe": -0.1, "unsafe": -2.4},))
    assert script.asked[0][:2] == (
        "/v1/completions",
        {
            "model": "m",
            "prompt": "Task: judge <|begin_of_text|>",
            "max_tokens": 4,
            "temperature": 0,
            "logprobs": 20,
        },
    )


def test_a_server_that_lists_fewer_alternatives_is_asked_for_fewer_from_then_on(
    script: Script, backend: OpenAI
) -> None:
    def answer(_path: str, body: Body) -> tuple[int, Any]:
        if body.get("logprobs", 0) > 5:
            return 400, {"error": {"message": "logprobs must be <= 5"}}
        content = [{"token": "Yes", "logprob": -0.2, "top_logprobs": []}]
        return 200, {"choices": [{"text": "Yes", "logprobs": {"content": content}}]}

    script.answer = answer
    call = Generate("m", ("q",), logprobs=20, raw=True)
    assert one(backend, call) == Texts(("Yes",), ({"Yes": -0.2},))
    assert one(backend, call) == Texts(("Yes",), ({"Yes": -0.2},))
    assert [body.get("logprobs") for _, body, _ in script.asked] == [20, 5, 5]


def test_a_guard_model_behind_a_server_is_asked_in_its_format(
    script: Script, backend: OpenAI
) -> None:
    odds = {"unsafe": -0.1, "safe": -2.4}
    script.answer = lambda _path, body: (
        200,
        {
            "choices": [
                {"text": "unsafe", "logprobs": {"top_logprobs": [odds]}}
                if "logprobs" in body
                else {"text": "S9", "logprobs": None}
            ]
        },
    )
    guard = Judge("guard", format="llama-guard-3")
    [verdict] = run(guard.check([Content.of("How do I pick a lock?")]), backend.send)
    assert [finding.category for finding in verdict.findings] == ["harm", "weapons"]
    prompts = [body["prompt"] for _, body, _ in script.asked]
    assert prompts[0].startswith("<|start_header_id|>user<|end_header_id|>\n\nTask: Check")
    assert prompts[1] == f"{prompts[0]}unsafe\n"


def test_a_server_without_completions_is_a_failure(script: Script, backend: OpenAI) -> None:
    script.answer = lambda _path, _body: (404, {"error": {"message": "no such route"}})
    reply = one(backend, Generate("m", ("q",), logprobs=5, raw=True))
    assert reply == Failed("model 'm' answered with HTTP 404: no such route")


def test_a_moderation_endpoint_is_a_classifier_by_label(script: Script, backend: OpenAI) -> None:
    result = {"flagged": True, "category_scores": {"violence/graphic": 0.7, "harassment": 0.25}}
    script.answer = lambda _path, _body: (200, {"results": [result]})
    guard = build({"use": "classifier", "model": "omni", "format": "by-label"})
    [verdict] = run(guard.check([Content.of("hm")]), backend.send)
    found = {finding.category: finding.score for finding in verdict.findings}
    assert found == pytest.approx({"violent-crimes": 0.7, "toxicity": 0.25})


CHAT = Chat(
    "m",
    (("system", "Route."), ("user", "How?")),
    schema='{"type": "object"}',
    logprobs=5,
    max_tokens=9,
)


def unclocked(backend: OpenAI, call: Chat) -> Reply:
    """Return the answer to a conversation without the time it took."""
    [reply] = backend.send((call,))
    assert isinstance(reply, Spoken | Failed)
    assert reply.seconds > 0
    return replace(reply, seconds=0.0)


def test_a_conversation_is_asked_as_it_is_and_its_tokens_come_back(
    script: Script, backend: OpenAI
) -> None:
    tokens = [
        {"token": "{}", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -2.0}]},
    ]
    script.answer = lambda _path, _body: (
        200,
        {
            "choices": [{"message": {"content": "{}"}, "logprobs": {"content": tokens}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
    )
    reply = unclocked(backend, CHAT)
    assert reply == Spoken("{}", (Token("{}", {"{}": -0.1, "no": -2.0}),), 0.0, 7, 3)
    path, body, _ = script.asked[-1]
    assert path.endswith("/chat/completions")
    assert body["messages"] == [
        {"role": "system", "content": "Route."},
        {"role": "user", "content": "How?"},
    ]
    assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (9, 0, 5)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_a_server_that_keeps_no_form_is_asked_without_it_from_then_on(
    script: Script, backend: OpenAI
) -> None:
    def answer(_path: str, body: Body) -> tuple[int, Any]:
        if body.keys() & {"response_format", "logprobs"}:
            return 400, {"error": {"message": "unknown field"}}
        return 200, {"choices": [{"message": {"content": "hi"}}]}

    script.answer = answer
    for reply in backend.send((CHAT, CHAT)):
        assert isinstance(reply, Spoken)
        assert reply.text == "hi"
    before = len(script.asked)
    assert unclocked(backend, CHAT) == Spoken("hi")
    assert len(script.asked) == before + 1
    script.answer = lambda _path, _body: (200, {"choices": []})
    assert unclocked(backend, CHAT) == Failed("model 'm' gave no choices")

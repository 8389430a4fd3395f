"""What the calls of a routed request cost, by branch and when a model is late, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from balustrade.backends.openai import OpenAI, Server
from balustrade.core.call import Chat, Failed, Texts
from balustrade.core.content import Content
from balustrade.core.digest import digest
from balustrade.core.errors import BackendError
from balustrade.flow.cache import Cache
from balustrade.flow.limit import deadline
from balustrade.flow.replay import Round, recorded, replay
from balustrade.flow.run import AsyncSend, arun
from balustrade.policy.route import RouteSpec
from balustrade.rails.prime.cost import Cost, cost
from balustrade.rails.prime.notes import Notes, Route
from balustrade.rails.prime.prime import Answered, Prime

SPEC = RouteSpec(("Do not pick locks for strangers.",), guard="guard")
PRIME = Prime(SPEC, "main")
ASKED = [Content.of("How does a lock work?")]
CAREFUL = json.dumps({"reevaluation": "Fine.", "final_response": "with care"})
LIMIT = 0.2


class Models:
    """Two models behind one server: they count words as tokens, and may be made to wait."""

    def __init__(self) -> None:
        self.route = Route.MINIMAL
        self.usage: Any = None
        """What is said of tokens instead of the truth."""

        self.late = ""
        """The model that does not answer before `release`."""

        self.release = Event()
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        if body["model"] == self.late:
            self.release.wait(20)
        text = CAREFUL if "response_format" in body else "freely"
        if body["model"] == "guard":
            text = json.dumps({"check": "c", "route": self.route, "tip": "t"})
        counts = {"prompt_tokens": words(body["messages"]), "completion_tokens": len(text.split())}
        message = {"role": "assistant", "content": text}
        return {"choices": [{"message": message}], "usage": self.usage or counts}

    def sent(self, model: str) -> list[dict[str, str]]:
        """Return the messages of the only request for a model."""
        [body] = [each for each in self.asked if each["model"] == model]
        messages: list[dict[str, str]] = body["messages"]
        return messages


def words(messages: list[dict[str, str]]) -> int:
    """Count as the server does."""
    return sum(len(each["content"].split()) for each in messages)


@pytest.fixture
def models() -> Iterator[Models]:
    made = Models()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            data = json.dumps(made.answer(body)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield made
    made.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def backend(models: Models) -> Iterator[OpenAI]:
    made = OpenAI(Server(models.url))
    yield made
    models.release.set()
    made.close()


def ask(send: AsyncSend, fixed: Notes | None = None) -> Answered:
    return asyncio.run(arun(PRIME.answer(ASKED, fixed), send))


@pytest.mark.parametrize(
    ("route", "roles"),
    [
        (Route.MINIMAL, ("router", "answer")),
        (Route.POTENTIAL, ("router", "reevaluation")),
        (Route.DIRECT, ("router",)),
    ],
)
def test_each_branch_says_what_each_of_its_calls_cost(
    models: Models, backend: OpenAI, route: Route, roles: tuple[str, ...]
) -> None:
    models.route = route
    found = ask(backend.asend)
    assert tuple(call.role for call in found.calls) == roles
    assert len(models.asked) == len(roles)
    for call in found.calls:
        sent = models.sent("guard" if call.role == "router" else "main")
        assert call.prompt == digest([(each["role"], each["content"]) for each in sent])
        assert call.prompt_tokens == words(sent)
        assert call.completion_tokens > 0
        assert call.seconds > 0
    assert len({call.prompt for call in found.calls}) == len(roles)


def test_a_route_that_was_given_costs_the_answer_alone(models: Models, backend: OpenAI) -> None:
    [paid] = ask(backend.asend, Notes(Route.POTENTIAL)).calls
    assert (paid.role, paid.prompt_tokens) == ("reevaluation", words(models.sent("main")))
    assert ask(backend.asend, Notes(Route.DIRECT)).calls == ()


def test_a_guard_that_is_late_costs_its_time_and_means_care(
    models: Models, backend: OpenAI
) -> None:
    models.late = "guard"
    limited = deadline(backend.asend, LIMIT)

    async def send(calls: Any) -> Any:
        [call] = calls
        return await (limited if call.model == "guard" else backend.asend)(calls)

    found = ask(send)
    assert (found.notes.route, found.response) == (Route.POTENTIAL, "with care")
    assert found.is_degraded
    assert f"did not answer within {LIMIT:g} s" in found.notes.trouble
    router, answer = found.calls
    assert (router.seconds, router.prompt_tokens, router.completion_tokens) == (LIMIT, 0, 0)
    assert (answer.role, answer.prompt_tokens) == ("reevaluation", words(models.sent("main")))


def test_a_main_model_that_is_late_is_an_error(models: Models, backend: OpenAI) -> None:
    models.late = "main"
    limited = deadline(backend.asend, LIMIT)

    async def send(calls: Any) -> Any:
        [call] = calls
        return await (limited if call.model == "main" else backend.asend)(calls)

    with pytest.raises(BackendError, match="'main' did not answer within"):
        ask(send)


def test_a_failure_costs_the_time_it_took() -> None:
    backend = OpenAI(Server("http://127.0.0.1:9/v1", attempts=2, wait=0.01))
    [reply] = backend.send((Chat("guard", (("user", "hi"),)),))
    backend.close()
    assert isinstance(reply, Failed)
    assert reply.seconds >= 0.01


@pytest.mark.parametrize(
    "usage",
    [{"total_tokens": 9}, {"prompt_tokens": None, "completion_tokens": "9"}, [9], "many"],
    ids=str,
)
def test_what_a_server_does_not_say_is_nothing(
    models: Models, backend: OpenAI, usage: object
) -> None:
    models.usage = usage
    found = ask(backend.asend)
    assert found.response == "freely"
    assert [(call.prompt_tokens, call.completion_tokens) for call in found.calls] == [(0, 0)] * 2
    assert all(call.seconds > 0 for call in found.calls)


def test_what_comes_from_memory_costs_nothing(models: Models, backend: OpenAI) -> None:
    send = Cache(backend.asend)
    first, second = ask(send), ask(send)
    assert len(models.asked) == 2
    assert second.response == first.response
    assert second.notes == first.notes
    assert second.calls == tuple(Cost(call.role, call.prompt) for call in first.calls)


def test_a_replay_costs_what_was_paid_then(models: Models, backend: OpenAI) -> None:
    models.route = Route.POTENTIAL
    tape: list[Round] = []
    found = asyncio.run(arun(recorded(PRIME.answer(ASKED), tape), backend.asend))
    assert replay(PRIME.answer(ASKED), tape) == found
    assert all(call.seconds > 0 and call.prompt_tokens for call in found.calls)


def test_a_reply_of_another_kind_says_nothing_of_its_cost() -> None:
    call = Chat("guard", (("user", "hi"),))
    assert cost("router", call, Texts(("hm",))) == Cost("router", digest(call.messages))

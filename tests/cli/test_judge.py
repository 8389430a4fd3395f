"""A policy whose guard asks a model behind a server, on the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]

POLICY = """\
name = "asks"

[[stage.input.guards]]
use = "judge"
model = "referee"
rules = [
  { category = "rudeness", description = "it is rude" },
  { category = "spoilers", description = "it tells how a story ends" },
]

[[stage.input.rules]]
name = "no-rudeness"
category = "rudeness"
message = "Please be kind."

[[stage.input.rules]]
name = "mark-spoilers"
category = "spoilers"
action = "flag"
threshold = 0.3
"""


class Referee:
    """A model that answers by what the quoted message holds, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        question = body["messages"][-1]["content"]
        letter = "B" if "fool" in question else "A"
        if "nonsense" in question:
            letter = "I would rather not say"
        odds = [{"token": letter, "logprob": -0.01}]
        if "butler" in question:
            odds = [{"token": "A", "logprob": -0.51}, {"token": "C", "logprob": -0.92}]
        logprobs = {"content": [{**odds[0], "top_logprobs": odds}]}
        message = {"role": "assistant", "content": letter}
        return {"choices": [{"index": 0, "message": message, "logprobs": logprobs}]}


@pytest.fixture
def referee(tmp_path: Path) -> Iterator[Referee]:
    """A referee on loopback, and a policy that asks it in `asks.toml`."""
    (tmp_path / "asks.toml").write_text(POLICY)
    model = Referee()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.asked.append(body)
            model.keys.append(self.headers.get("Authorization", ""))
            data = json.dumps(model.answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield model
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("text", "action", "code"),
    [("Good morning", "allow", 0), ("You fool", "block", 2), ("It was the butler", "flag", 0)],
)
def test_a_model_behind_a_server_judges_by_rules_in_plain_language(
    balustrade: Run, referee: Referee, text: str, action: str, code: int
) -> None:
    model = ("--model", f"referee={referee.url}")
    done = balustrade("check", "--policy", "asks.toml", *model, "--json", text)
    assert (json.loads(done.stdout)["action"], done.returncode) == (action, code), done.stderr
    [asked] = referee.asked
    assert asked["model"] == "referee"
    assert "B: it is rude" in asked["messages"][0]["content"]
    assert text in asked["messages"][1]["content"]


def test_its_address_may_stand_in_the_environment_with_its_key(
    balustrade: Run, referee: Referee
) -> None:
    there = {
        "BALUSTRADE_MODELS": f"other=http://127.0.0.1:9/v1 referee={referee.url}",
        "BALUSTRADE_API_KEY": "not-a-secret",
    }
    done = balustrade("check", "--policy", "asks.toml", "You fool", **there)
    assert done.returncode == 2
    assert done.stdout.startswith(b"BLOCK  by rule 'no-rudeness'")
    assert referee.keys == ["Bearer not-a-secret"]


def test_a_scan_asks_it_too(balustrade: Run, referee: Referee, tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": text} for n, text in enumerate(["Good morning", "You fool"])]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = ("--model", f"referee={referee.url}")
    done = balustrade("scan", "rows.jsonl", "--policy", "asks.toml", *model, "--out", "o.jsonl")
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["action"] for row in written] == ["allow", "block"]


def test_the_gateway_asks_it_under_the_same_names(
    serve: Callable[..., str], referee: Referee
) -> None:
    there = {"BALUSTRADE_MODELS": f"referee={referee.url}", "BALUSTRADE_API_KEY": "not-a-secret"}
    url = serve("--policy", "asks.toml", **there)
    asked = httpx.post(f"{url}/v1/moderations", json={"input": ["Good morning", "You fool"]})
    assert [result["flagged"] for result in asked.json()["results"]] == [False, True]
    assert "Bearer not-a-secret" in referee.keys


def test_an_answer_that_is_no_choice_fails_closed(balustrade: Run, referee: Referee) -> None:
    model = ("--model", f"referee={referee.url}")
    done = balustrade("check", "--policy", "asks.toml", *model, "nonsense")
    assert done.returncode == 2
    assert b"the model's answer is none of its choices" in done.stdout


@pytest.mark.usefixtures("referee")
def test_a_server_that_is_away_fails_closed_and_is_named(balustrade: Run) -> None:
    model = ("--model", "referee=http://127.0.0.1:9/v1")
    done = balustrade("check", "--policy", "asks.toml", *model, "Good morning")
    assert done.returncode == 2
    assert b"guard 'judge' could not judge: model 'referee' did not answer" in done.stdout


@pytest.mark.usefixtures("referee")
@pytest.mark.parametrize("wrong", ["referee", "=http://host/v1", "referee=host/v1"])
def test_a_model_without_an_address_is_refused(balustrade: Run, wrong: str) -> None:
    done = balustrade("check", "--policy", "asks.toml", "--model", wrong, "Good morning")
    assert done.returncode == 1
    assert f"model {wrong!r}: expected NAME=URL".encode() in done.stderr

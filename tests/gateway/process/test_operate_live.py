"""What whoever runs the server sees: readiness, metrics, models, decisions, headers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any


def test_every_answer_names_its_request_and_its_cost(plain: Any) -> None:
    own = plain.get("/healthz", **{"x-request-id": "mine-1"})
    hostile = plain.get("/healthz", **{"x-request-id": "a b\tc"})
    assert own.headers["x-request-id"] == "mine-1"
    assert hostile.headers["x-request-id"].startswith("req_")
    assert float(own.headers["x-balustrade-overhead-ms"]) >= 0


def test_r23_time_spent_at_the_model_is_not_overhead(plain: Any) -> None:
    quick = plain.chat("words-3")
    slow = plain.chat("slow-50", stream=True)
    assert quick.status_code == slow.status_code == 200
    assert float(slow.headers["x-balustrade-overhead-ms"]) < 500


def test_a_request_id_reaches_upstream_headers_and_the_record(plain: Any) -> None:
    body = {"input": "hi"}
    answer = plain.post("/v1/moderations", body, **{"x-request-id": "trace-7"})
    record = plain.get(f"/v1/decisions/{answer.headers['x-balustrade-decision']}").json()
    assert record["request"] == "trace-7"
    assert record["route"] == "/v1/moderations"


def test_metrics_count_requests_and_decisions_and_no_unknown_paths(plain: Any) -> None:
    for number in range(5):
        plain.get(f"/nothing/{number}")
    plain.post("/v1/moderations", {"input": "forbidden"})
    text = plain.get("/metrics").text
    assert 'balustrade_requests_total{route="unknown",method="GET",status="404"} 5' in text
    assert "/nothing/" not in text
    assert 'stage="input",action="block"' in text
    assert "balustrade_overhead_seconds_bucket" in text
    assert 'balustrade_policy_info{name="words"' in text


def test_models_are_those_of_the_upstreams(plain: Any) -> None:
    names = [model["id"] for model in plain.get("/v1/models").json()["data"]]
    assert names == ["echo", "words"]
    assert plain.get("/v1/models/echo").json()["owned_by"] == "script"
    assert plain.get("/v1/models/none").status_code == 404


def test_a_decision_that_is_not_there_is_not_found(plain: Any) -> None:
    answer = plain.get("/v1/decisions/dec_0")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "decision_not_found"


def test_decisions_are_listed_page_by_page(plain: Any) -> None:
    for _ in range(3):
        plain.post("/v1/moderations", {"input": "hi"})
    first = plain.get("/v1/decisions?limit=2").json()
    second = plain.get(f"/v1/decisions?limit=2&before={first['before']}").json()
    ids = [record["id"] for record in (*first["data"], *second["data"])]
    assert len(set(ids)) == len(ids) >= 3
    assert ids == sorted(ids, reverse=True)
    assert plain.get("/v1/decisions?limit=many").json()["error"]["param"] == "limit"


def test_logs_hold_no_content(plain: Any) -> None:
    plain.chat("error-500", "my very private words")
    assert "private words" not in plain.said()
    assert "answered 500" in plain.said()


def test_logs_can_be_json_lines(serve: Callable[..., Any]) -> None:
    gateway = serve('log = "json"')
    gateway.chat("error-500")
    gateway.signal(signal.SIGTERM)
    gateway.wait()
    lines = [line for line in gateway.said().splitlines() if line.startswith("{")]
    assert [json.loads(line)["level"] for line in lines] == ["warning"]


def test_several_workers_serve_one_port_and_one_log(serve: Callable[..., Any]) -> None:
    gateway = serve("workers = 2")
    answers = [gateway.post("/v1/moderations", {"input": "hi"}) for _ in range(20)]
    ids = [answer.headers["x-balustrade-decision"] for answer in answers]
    assert all(gateway.get(f"/v1/decisions/{each}").status_code == 200 for each in ids)
    gateway.signal(signal.SIGTERM)
    gateway.wait()


def test_the_banner_says_how_to_try_it(plain: Any) -> None:
    said = plain.said()
    assert f"balustrade serves http://127.0.0.1:{plain.port}/v1" in said
    assert "curl" in said
    assert "policy    words" in said

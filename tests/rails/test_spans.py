from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from balustrade.core.content import Content
from balustrade.core.decision import Action, Decision
from balustrade.core.facts import Facts
from balustrade.core.verdict import Verdict
from balustrade.rails.spans import Spans, spans_to
from balustrade.rails.trace import Event

SECRET = Content.of("my password is tulip")
BLOCKED = Event(
    Decision(
        Action.BLOCK,
        SECRET,
        (Verdict("judge", error="hung"),),
        "on_error",
        "9f2c",
        stage="input",
    ),
    SECRET,
    Facts("dec_1", at=1_700_000_000_000_000, micros=1500, route="chat", model="m"),
)


def test_a_decision_is_a_span_with_its_time_and_no_content() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    sink = Spans(provider)
    asyncio.run(sink.take_async([BLOCKED]))
    [span] = exporter.get_finished_spans()
    assert span.name == "balustrade input"
    assert (span.start_time, span.end_time) == (
        1_699_999_999_998_500_000,
        1_700_000_000_000_000_000,
    )
    assert span.attributes == {
        "balustrade.decision": "dec_1",
        "balustrade.action": "block",
        "balustrade.rule": "on_error",
        "balustrade.revision": "9f2c",
        "balustrade.stage": "input",
        "balustrade.route": "chat",
        "gen_ai.request.model": "m",
    }
    assert span.status.description == "failed: judge"
    assert "tulip" not in span.to_json()
    sink.close()


def test_spans_reach_a_collector_when_the_sink_is_closed() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        sink = spans_to(f"http://127.0.0.1:{server.server_port}/v1/traces", "chat-desk")
        sink.take([BLOCKED])
        sink.close()
        server.shutdown()
        thread.join()
    [(path, body)] = received
    assert path == "/v1/traces"
    assert b"chat-desk" in body
    assert b"dec_1" in body
    assert b"tulip" not in body


def test_sinks_import_no_telemetry_until_it_is_configured() -> None:
    code = (
        "import sys, balustrade.rails.trace, balustrade.rails.metrics, balustrade.rails.spans\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

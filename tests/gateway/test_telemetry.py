"""Traces: sent to a collector where one is named, else not even imported."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector that keeps what it is sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    server.shutdown()
    server.server_close()


def test_a_request_is_a_span_under_its_callers_trace(
    collector: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    address, bodies = collector
    trace = "0af7651916cd43dd8448eb211c80319c"
    code = f"""
import asyncio
from balustrade.gateway.http import Request
from balustrade.gateway.settings import Telemetry
from balustrade.gateway.telemetry import Tracer
tracer = Tracer.of(Telemetry(endpoint={address!r}, service="tests"))
request = Request("POST", "/v1/x", [(b"traceparent", b"00-{trace}-b7ad6b7169203331-01")])
request.route = "/v1/{{id}}"
tracer.start(request).end(request, 502)
tracer.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path)
    deadline = time.monotonic() + 10
    while not bodies and time.monotonic() < deadline:
        time.sleep(0.02)
    sent = ExportTraceServiceRequest.FromString(bodies[0])
    [span] = sent.resource_spans[0].scope_spans[0].spans
    assert span.name == "POST /v1/{id}"
    assert span.trace_id.hex() == trace
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    attributes = {each.key: each.value.int_value for each in span.attributes}
    assert attributes["http.response.status_code"] == 502


def test_r15_without_a_collector_nothing_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from balustrade.gateway.server import application\n"
        "from balustrade.gateway.settings import Settings, AuditSpec\n"
        "application(Settings(audit=AuditSpec(path=sys.argv[1])))\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"

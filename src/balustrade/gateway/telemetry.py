"""OpenTelemetry traces of requests; nothing is imported and nothing is sent unless configured."""

from __future__ import annotations

import time
from typing import Any

from balustrade.core.registry import require
from balustrade.gateway.http import Request
from balustrade.gateway.settings import Telemetry

_NANO = 1_000_000_000


class Span:
    """One request's span, ended by hand because it outlives the function that began it."""

    def __init__(self, span: Any) -> None:  # noqa: ANN401 - the library is optional
        self._span = span

    def end(self, request: Request, status: int) -> None:
        """Say how it went; neither content nor keys are told."""
        span = self._span
        span.update_name(f"{request.method} {request.route}")
        span.set_attribute("http.route", request.route)
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("balustrade.request", request.id)
        span.set_attribute("balustrade.upstream_ms", round(request.upstream_seconds * 1000, 3))
        if status >= 500:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - optional

            span.set_status(Status(StatusCode.ERROR))
        span.end()


class Tracer:
    """Begin a span for each request, as a child of the caller's if it names one."""

    def __init__(self, spec: Telemetry) -> None:
        require("telemetry", "opentelemetry.sdk")
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(spec.share),
            resource=Resource.create({"service.name": spec.service}),
        )
        exporter = OTLPSpanExporter(endpoint=spec.endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("balustrade")
        self._extract = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER

    @classmethod
    def of(cls, spec: Telemetry) -> Tracer | None:
        """Return a tracer if the settings name an endpoint."""
        return cls(spec) if spec.endpoint else None

    def start(self, request: Request) -> Span:
        """Begin a request's span, at the time its first byte came."""
        carrier = {"traceparent": request.header(b"traceparent")}
        late = time.perf_counter() - request.started
        started = time.time_ns() - int(late * _NANO)
        return Span(
            self._tracer.start_span(
                request.method,
                context=self._extract(carrier),
                kind=self._kind,
                start_time=started,
            )
        )

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()

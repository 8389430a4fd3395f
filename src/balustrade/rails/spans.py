"""Tell an OpenTelemetry collector of decisions; nothing is imported or sent unless asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from balustrade.core.registry import require
from balustrade.rails.trace import Event

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_WHAT = "tracing"


class Spans:
    """A sink that makes one span of each decision; never with what was judged.

    Args:
        provider: Makes the spans and sends them; shut down with the sink.
    """

    def __init__(self, provider: TracerProvider) -> None:
        require(_WHAT, "opentelemetry.trace")
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._provider = provider
        self._tracer = provider.get_tracer("balustrade")
        self._failure = StatusCode.ERROR

    def take(self, events: Sequence[Event], /) -> None:
        """Make a span of each event; sending is the provider's, in its own thread."""
        for event in events:
            end = event.facts.at * 1000
            span = self._tracer.start_span(
                f"balustrade {event.decision.stage or 'check'}",
                attributes=_attributes(event),
                start_time=end - event.facts.micros * 1000,
            )
            if event.decision.failed:
                span.set_status(self._failure, f"failed: {', '.join(event.decision.failed)}")
            span.end(end)

    async def take_async(self, events: Sequence[Event], /) -> None:
        """Make a span of each event; nothing is waited for."""
        self.take(events)

    def close(self) -> None:
        """Send what is still held, and stop."""
        self._provider.shutdown()


def spans_to(endpoint: str, service: str = "balustrade") -> Spans:
    """Return a sink that sends spans to a collector by OTLP over HTTP, in batches.

    Args:
        endpoint: The collector's address for traces, such as http://127.0.0.1:4318/v1/traces.
        service: The name under which they appear.

    Raises:
        MissingExtraError: The extra `otel` is not installed.
    """
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
        require(_WHAT, module)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return Spans(provider)


def _attributes(event: Event) -> dict[str, str | int | bool]:
    decision, facts = event.decision, event.facts
    known: dict[str, str | int | bool] = {
        "balustrade.decision": facts.id,
        "balustrade.action": decision.action.word,
        "balustrade.rule": decision.rule,
        "balustrade.revision": decision.revision,
        "balustrade.stage": decision.stage,
        "balustrade.unjudged": len(decision.unjudged),
        "balustrade.degraded": facts.degraded,
        "balustrade.request": facts.request,
        "balustrade.route": facts.route,
        "balustrade.tenant": facts.tenant,
        "gen_ai.request.model": facts.model,
    }
    return {name: value for name, value in known.items() if value}

"""Counters and histograms in Prometheus' text form; no more than the server needs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_SERIES = 1000
"""Label values a metric takes; further ones are counted together, so that memory is bounded."""

_OTHER = "other"


class Counter:
    """Counts per label values; also holds gauges, which are set."""

    def __init__(
        self, name: str, help_: str, labels: tuple[str, ...] = (), kind: str = "counter"
    ) -> None:
        self.name = name
        self.help = help_
        self.labels = labels
        self.kind = kind
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Count."""
        values = self.values
        if labels not in values and len(values) >= MOST_SERIES:
            labels = (_OTHER,) * len(labels)
        values[labels] = values.get(labels, 0.0) + amount

    def set(self, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        self.values[labels] = value

    def lines(self) -> Iterator[str]:
        """Render."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.values.items():
            yield f"{self.name}{_braces(self.labels, labels)} {value:g}"


class Histogram:
    """Counts of durations per label values, in buckets of seconds."""

    def __init__(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.help = help_
        self.labels = labels
        self.values: dict[tuple[str, ...], list[float]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one duration."""
        row = self.values.get(labels)
        if row is None:
            if len(self.values) >= MOST_SERIES:
                labels = (_OTHER,) * len(labels)
            row = self.values.setdefault(labels, [0.0] * (len(SECONDS) + 2))
        row[bisect_left(SECONDS, seconds)] += 1
        row[-1] += seconds

    def lines(self) -> Iterator[str]:
        """Render, with cumulative buckets."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        for labels, row in self.values.items():
            total = 0.0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), row, strict=False):
                total += count
                braces = _braces((*self.labels, "le"), (*labels, bound))
                yield f"{self.name}_bucket{braces} {total:g}"
            yield f"{self.name}_sum{_braces(self.labels, labels)} {row[-1]:.6f}"
            yield f"{self.name}_count{_braces(self.labels, labels)} {total:g}"


class Metrics:
    """What the server counts."""

    def __init__(self) -> None:
        prefix = "balustrade_"
        self.requests = Counter(
            prefix + "requests_total", "Requests answered.", ("route", "method", "status")
        )
        self.in_flight = Counter(
            prefix + "requests_in_flight", "Requests being answered.", (), "gauge"
        )
        self.overhead = Histogram(
            prefix + "overhead_seconds",
            "Time spent here until the response began, without waiting for a model.",
            ("route",),
        )
        self.decisions = Counter(
            prefix + "decisions_total", "Decisions made.", ("stage", "action", "revision")
        )
        self.guard_errors = Counter(
            prefix + "guard_errors_total", "Contents a guard could not judge.", ("stage", "guard")
        )
        self.upstream = Counter(
            prefix + "upstream_responses_total", "What upstreams answered.", ("upstream", "result")
        )
        self.upstream_seconds = Histogram(
            prefix + "upstream_seconds", "Time until an upstream began to answer.", ("upstream",)
        )
        self.retries = Counter(
            prefix + "upstream_retries_total", "Calls tried again.", ("upstream",)
        )
        self.breaker = Counter(
            prefix + "upstream_open",
            "Whether an upstream's breaker is open.",
            ("upstream",),
            "gauge",
        )
        self.reloads = Counter(prefix + "reloads_total", "Looks at changed files.", ("result",))
        self.policy = Counter(
            prefix + "policy_info", "Policies in force.", ("name", "revision"), "gauge"
        )
        self.unlogged = Counter(
            prefix + "unlogged_total", "Decisions that could not be kept.", ("durable",)
        )
        self.route_seconds = Histogram(
            prefix + "route_seconds", "Time that a routed request's calls took.", ("role",)
        )
        self.route_tokens = Counter(
            prefix + "route_tokens_total",
            "Tokens of routed requests' calls, as servers count them.",
            ("role", "kind"),
        )
        self.limited = Counter(prefix + "limited_total", "Requests over a limit.", ("key", "limit"))
        self.streams_cut = Counter(prefix + "streams_cut_total", "Streams stopped early.", ())

    def render(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        lines = (line for metric in vars(self).values() for line in metric.lines())
        return ("\n".join(lines) + "\n").encode()


def _braces(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    inner = ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True))
    return f"{{{inner}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

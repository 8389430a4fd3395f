"""A report on disk and on the wire: the fixed JSON form, and JSON, Markdown and HTML files."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from balustrade.evals.html import html
from balustrade.evals.markdown import markdown
from balustrade.evals.suites.moderation import Report, SetReport
from balustrade.evals.written import written


class Times(Struct, frozen=True):
    """Milliseconds for one row alone."""

    p50: float | None
    p99: float | None


class Line(Struct, frozen=True):
    """One set in the fixed form; figures that its rows cannot support are null."""

    name: str
    rows: int
    unsafe: int
    auprc: float | None
    f1: float | None
    threshold: float | None
    recall: float | None
    false_alarms: float | None
    latency_ms: Times


class Summary(Struct, frozen=True):
    """What `balustrade eval moderation --json` prints: a promise to scripts, never changed."""

    guard: str
    sets: tuple[Line, ...]


def summary(report: Report) -> Summary:
    """Return a report in the fixed form."""
    return Summary(report.guard, tuple(map(_summarised, report.sets)))


def _summarised(entry: SetReport) -> Line:
    found, times = entry.figures, entry.latency
    return Line(
        entry.name,
        entry.rows,
        entry.unsafe,
        found.auprc,
        found.f1,
        entry.threshold,
        found.recall,
        found.false_alarms,
        Times(times.p50 if times else None, times.p99 if times else None),
    )


def write(report: Report, folder: Path) -> list[Path]:
    """Write `report.json`, `report.md` and `report.html` into a folder; return their paths."""
    return written(folder, report, markdown=markdown(report), html=html(report))

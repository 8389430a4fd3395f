"""A report on streams as JSON, Markdown and one HTML page, with how each answer went beside it."""

from __future__ import annotations

from pathlib import Path

from balustrade.evals import html as web
from balustrade.evals import markdown as text
from balustrade.evals.streams.plot import seen_plot
from balustrade.evals.streams.systems import LIVE
from balustrade.evals.streams.tables import tables
from balustrade.evals.suites.stream import Report, Run
from balustrade.evals.written import written


def write(done: Run, folder: Path) -> list[Path]:
    """Write `report.json`, `.md`, `.html` and `outcomes.jsonl` into a folder; return the paths."""
    report = done.report
    return written(
        folder,
        report,
        markdown=markdown(report),
        html=html(report),
        lines={"outcomes.jsonl": done.lines},
    )


def markdown(report: Report) -> str:
    """Return the report as a Markdown document."""
    return text.document(_title(report), _lead(report), tables(report))


def html(report: Report) -> str:
    """Return the report as a page that stands alone."""
    parts = {system: [each for each in report.deciles if each.system == system] for system in LIVE}
    plots = web.gallery(
        "Seen before the stop",
        "Bars: the mean share of a harmful answer that was seen, by where harm begins; dashes: "
        "where it begins. Unstopped answers count as 100 %. Lines: 95 % intervals.",
        [seen_plot(system, own) for system, own in parts.items() if own],
    )
    first, *rest = map(web.section, tables(report))
    return web.page(_title(report), _lead(report), [first, plots, *rest])


def _title(report: Report) -> str:
    return f"Streams: {report.guard}"


def _lead(report: Report) -> str:
    return (
        f"Balustrade {report.version}. Stream guard {report.guard}{_revision(report.revision)}; "
        f"guard of whole answers {report.full}{_revision(report.full_revision)}. "
        f"{len(report.sets)} sets, {sum(each.rows for each in report.sets):,} answers, "
        f"{sum(each.unsafe for each in report.sets):,} of them harmful."
    )


def _revision(revision: str) -> str:
    return f", revision {revision}" if revision else ""

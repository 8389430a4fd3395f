"""A report on the guardrail tax as JSON, Markdown and one HTML page, with all answers beside it."""

from __future__ import annotations

from pathlib import Path

from balustrade.evals import html as web
from balustrade.evals import markdown as text
from balustrade.evals.suites.tax import Report, Run
from balustrade.evals.tax.plot import tradeoff
from balustrade.evals.tax.tables import tables
from balustrade.evals.written import written


def write(done: Run, folder: Path) -> list[Path]:
    """Write `report.json`, `.md`, `.html` and `answers.jsonl` into a folder; return their paths."""
    report = done.report
    return written(
        folder,
        report,
        markdown=markdown(report),
        html=html(report),
        lines={"answers.jsonl": done.answers},
    )


def markdown(report: Report) -> str:
    """Return the report as a Markdown document."""
    return text.document(_title(report), _lead(report), tables(report))


def html(report: Report) -> str:
    """Return the report as a page that stands alone."""
    plot = web.gallery(
        "Safety and helpfulness",
        "Up and to the right is better. Lines: 95 % intervals.",
        [tradeoff(report.systems)],
    )
    return web.page(_title(report), _lead(report), [plot, *map(web.section, tables(report))])


def _title(report: Report) -> str:
    return f"Guardrail tax: {report.policy}"


def _lead(report: Report) -> str:
    return (
        f"Balustrade {report.version}, guidelines {report.guidelines}. Model {report.model}, "
        f"guard {report.guard}, judge {report.judge}. {report.rows:,} requests: "
        f"{report.unsafe:,} harmful, {report.attacks:,} of them in a wrapper; "
        f"pairs: {report.pairs:,}."
    )

"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from balustrade.evals.suites.moderation import Report
from balustrade.evals.tables import Table, tables


def markdown(report: Report) -> str:
    """Return the report as a Markdown document."""
    revision = f", revision `{report.revision}`" if report.revision else ""
    lead = (
        f"Balustrade {report.version}{revision}; {len(report.sets)} sets, "
        f"{sum(entry.rows for entry in report.sets):,} rows, "
        f"{sum(entry.figures.judged for entry in report.sets):,} judged."
    )
    return document(f"Moderation: `{report.guard}`", lead, tables(report))


def document(title: str, lead: str, parts: Iterable[Table]) -> str:
    """Return a title, what is said first, and tables, as a Markdown document."""
    return "\n".join([f"# {title}", "", lead, "", *(n for part in parts for n in section(part))])


def section(table: Table) -> list[str]:
    """Return the lines of a table with its title and note."""
    sides = ["---" if place in table.words else "---:" for place in range(len(table.columns))]
    return [
        f"## {table.title}",
        "",
        _line(table.columns),
        _line(sides),
        *(
            _line([f"**{cell}**" for cell in row] if number in table.ours else row)
            for number, row in enumerate(table.rows)
        ),
        "",
        *([table.note, ""] if table.note else []),
    ]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    safe = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(safe)} |"

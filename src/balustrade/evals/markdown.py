"""A report as Markdown."""

from __future__ import annotations

from balustrade.evals.suites.moderation import Report
from balustrade.evals.tables import Table, tables


def markdown(report: Report) -> str:
    """Return the report as a Markdown document."""
    return "\n".join([*_head(report), *(part for t in tables(report) for part in section(t))])


def _head(report: Report) -> list[str]:
    revision = f", revision `{report.revision}`" if report.revision else ""
    return [
        f"# Moderation: `{report.guard}`",
        "",
        f"Balustrade {report.version}{revision}; {len(report.sets)} sets, "
        f"{sum(entry.rows for entry in report.sets):,} rows, "
        f"{sum(entry.figures.judged for entry in report.sets):,} judged.",
        "",
    ]


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

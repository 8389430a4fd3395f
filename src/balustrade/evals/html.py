"""A report as one HTML page: nothing is fetched, no script runs, plots are inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from balustrade.evals.figures import Figures, Slice
from balustrade.evals.plots import bars_plot, curve_plot, reliability_plot
from balustrade.evals.suites.moderation import Report
from balustrade.evals.tables import FEW, Table, tables

LANGUAGES = 30
"""Bars of one plot; the table lists the rest."""


def html(report: Report) -> str:
    """Return the report as a page that stands alone."""
    parts = tables(report)
    body = [*map(section, parts[:2]), *_plots(report), *map(section, parts[2:])]
    return page(f"Moderation: {report.guard}", _lead(report), body)


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """Return a page that stands alone: its title, a sentence on what it is about, and the rest."""
    style = (files("balustrade.evals") / "report.css").read_text(encoding="utf-8")
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(lead)}</p>", *sections]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(body)}\n</main>\n</body>\n</html>"
    )


def _lead(report: Report) -> str:
    rows = sum(entry.rows for entry in report.sets)
    judged = sum(entry.figures.judged for entry in report.sets)
    revision = f", revision {report.revision}" if report.revision else ""
    return (
        f"Balustrade {report.version}{revision}. "
        f"{len(report.sets)} sets, {rows:,} rows, {judged:,} judged."
    )


def section(table: Table) -> str:
    """Return a table with its title and note."""
    head = "".join(_cell("th", place, name, table) for place, name in enumerate(table.columns))
    rows = "".join(
        f"<tr{' class=ours' if number in table.ours else ''}>"
        + "".join(_cell("td", place, text, table) for place, text in enumerate(row))
        + "</tr>\n"
        for number, row in enumerate(table.rows)
    )
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return (
        f"<section>\n<h2>{escape(table.title)}</h2>\n{note}\n"
        f'<div class=scroll tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
        "</section>"
    )


def _cell(tag: str, place: int, text: str, table: Table) -> str:
    kind = "" if place in table.words else " class=number"
    value, opened, interval = text.partition(" [")
    spread = f" <small>[{escape(interval)}</small>" if opened else ""
    return f"<{tag}{kind}>{escape(value)}{spread}</{tag}>"


def _plots(report: Report) -> Iterable[str]:
    named = [(entry.name, entry.figures) for entry in report.sets]
    overall = [(entry.question.value, entry.figures) for entry in report.overall]
    yield gallery(
        "Precision and recall",
        "Dot: the threshold the guard ships with. Dashes: the share of unsafe rows, which is what "
        "a guard that cannot tell reaches. Sets of one class have no curve.",
        [curve_plot(name, figures) for name, figures in named if figures.curve],
    )
    yield gallery(
        "Reliability",
        "Of the rows with a score, how many are unsafe? On the dashes a score is a frequency; a "
        "dot grows with its share of the rows. What a frequency is depends on how many unsafe "
        "rows a set was given.",
        [
            reliability_plot(name, figures.reliability)
            for name, figures in overall
            if figures.reliability
        ],
    )
    yield gallery(
        "Languages",
        '<span class="key recall"></span> recall and <span class="key alarms"></span> false '
        "alarms, in percent, at the threshold the guard ships with; lines: 95 % intervals.",
        [bars_plot(name, _spoken(figures)) for name, figures in overall if _spoken(figures)],
    )


def gallery(title: str, note: str, plots: Sequence[str]) -> str:
    """Return plots with a title and a note; nothing if there are none."""
    if not plots:
        return ""
    return (
        f"<section>\n<h2>{title}</h2>\n<p class=note>{note}</p>\n"
        f"<div class=plots>\n{chr(10).join(plots)}\n</div>\n</section>"
    )


def _spoken(figures: Figures) -> list[Slice]:
    return [part for part in figures.languages if part.rows >= FEW and part.name][:LANGUAGES]

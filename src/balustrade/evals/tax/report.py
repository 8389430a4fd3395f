"""A report on the guardrail tax as JSON, Markdown and one HTML page, with all answers beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from balustrade.evals import html as web
from balustrade.evals import markdown as text
from balustrade.evals.suites.tax import Report, Run
from balustrade.evals.tax.plot import tradeoff
from balustrade.evals.tax.tables import tables


def write(done: Run, folder: Path) -> list[Path]:
    """Write `report.json`, `.md`, `.html` and `answers.jsonl` into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = b"".join(msgspec.json.encode(answer) + b"\n" for answer in done.answers)
    report = msgspec.json.format(msgspec.json.encode(done.report), indent=1)
    contents = {
        "report.json": report + b"\n",
        "report.md": f"{markdown(done.report)}\n".encode(),
        "report.html": f"{html(done.report)}\n".encode(),
        "answers.jsonl": answers,
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def markdown(report: Report) -> str:
    """Return the report as a Markdown document."""
    head = [f"# {_title(report)}", "", _lead(report), ""]
    return "\n".join([*head, *(line for each in tables(report) for line in text.section(each))])


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

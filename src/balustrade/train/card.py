"""The static guard's model card: measured on every set of a folder, at the shipped thresholds.

    python -m balustrade.train.card --bench ../shared/data/bench --data ../shared/data/dev

Writes static.metrics.json and static.md beside the weights. A row's kind chooses the head that
judges it; a set of injections asks its harmless rows for injections too. The test sets are only
reported on: nothing is chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from balustrade.backends.static import Static
from balustrade.core.taxonomy import HARM, INJECTION, RESPONSE_HARM, TOXICITY
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.evals.metrics import average_precision
from balustrade.shipped import HERE, Description, describe
from balustrade.text.normalise import normalise

JUDGE = {Kind.RESPONSE: RESPONSE_HARM, Kind.INJECTION: INJECTION, Kind.TOXICITY: TOXICITY}
SKIPPED = frozenset({Kind.BIAS, Kind.WEB_ACTION, Kind.PII})
CHARACTERS = 2_000


class Figures(Struct, frozen=True):
    """What was measured on one set; None where its rows cannot support a figure."""

    name: str
    rows: int
    unsafe: int
    auprc: float | None
    recall: float | None
    false_alarms: float | None


def measure(name: str, rows: Sequence[Example], model: Static, known: Description) -> Figures:
    """Judge the rows of one set."""
    injections = any(row.kind is Kind.INJECTION for row in rows)
    other = INJECTION if injections else HARM
    heads = np.array([known.labels.index(JUDGE.get(row.kind, other)) for row in rows])
    scores = model.scores(
        [normalise(row.judged[:CHARACTERS]).text for row in rows],
        [row.text[:CHARACTERS] if row.kind is Kind.RESPONSE else "" for row in rows],
    )[np.arange(len(rows)), heads]
    flagged = scores >= np.array([head.threshold for head in known.heads])[heads]
    unsafe = np.array([row.is_unsafe for row in rows])
    return Figures(
        name,
        len(rows),
        int(unsafe.sum()),
        average_precision(unsafe, scores),
        float(flagged[unsafe].mean()) if unsafe.any() else None,
        float(flagged[~unsafe].mean()) if not unsafe.all() else None,
    )


def card(known: Description, figures: Sequence[Figures], data: Sequence[Example]) -> str:
    """Write the card."""
    table = "\n".join(
        f"| {f.name} | {f.rows} | {f.unsafe} | {_shown(f.auprc)} | {_shown(f.recall)} | "
        f"{_shown(f.false_alarms)} |"
        for f in figures
    )
    heads = "\n".join(f"| {head.name} | {head.threshold:.3f} |" for head in known.heads)
    sources = "\n".join(
        f"| {source} | {licence} |"
        for source, licence in sorted({(row.source, row.licence) for row in data})
    )
    template = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    return template.format(
        sha256=known.sha256, rows=2**known.bits, table=table, heads=heads, sources=sources
    )


def main(bench: Path, data: Path, folder: Path = HERE) -> list[Figures]:
    """Measure, write both files, and return the figures."""
    model, known = Static("static", folder), describe("static", folder)
    figures = []
    for file in jsonl.files(bench):
        rows = [row for row in jsonl.read(file) if row.kind not in SKIPPED]
        if rows:
            figures.append(measure(file.name.partition(".")[0], rows, model, known))
    trained = [row for file in jsonl.files(data) for row in jsonl.read(file)]
    (folder / "static.md").write_text(card(known, figures, trained), encoding="utf-8")
    encoded = msgspec.json.format(msgspec.json.encode(figures), indent=1)
    (folder / "static.metrics.json").write_bytes(encoded + b"\n")
    return figures


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="measure the static guard and write its card")
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=HERE)
    given = parser.parse_args()
    main(given.bench, given.data, given.folder)

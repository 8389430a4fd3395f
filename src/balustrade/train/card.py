"""The model cards: each shipped tier measured on every set of a folder, as it ships.

    python -m balustrade.train.card --bench ../shared/data/bench --data ../shared/data/dev

Writes NAME.metrics.json and NAME.md beside the weights, for every tier that lies there. Figures are
those of `balustrade eval moderation --guard NAME`: the guard as a policy would run it, 95 %
intervals by bootstrap. The test sets are only reported on: nothing is chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from msgspec import Struct

from balustrade.data import jsonl
from balustrade.data.example import Example
from balustrade.evals import tables
from balustrade.evals.bootstrap import Interval
from balustrade.evals.named import subject
from balustrade.evals.question import Question
from balustrade.evals.runner import Judged
from balustrade.evals.subject import Head
from balustrade.evals.suites import moderation
from balustrade.evals.task import tasks
from balustrade.shipped import HERE, Description, describe

TIERS = ("static", "encoder", "cascade", "ensemble")
OWN = ("Balustrade's own phrases, posts, contrasts, scenes and grammar", "Apache-2.0")
PARALLEL = (
    ("Android Open Source Project", "Apache-2.0"),
    ("Tanaka Corpus and Tatoeba", "CC-BY-2.0-FR"),
    ("bluesky-social/social-app", "MIT"),
    ("chatwoot/chatwoot", "MIT"),
    ("matrix-org/matrix-react-sdk", "Apache-2.0"),
    ("microsoft/AZD-for-beginners", "MIT"),
    ("tldr-pages/tldr", "CC-BY-4.0"),
)
"""Sources of parallel text, and their licences."""


class Measured(Struct, frozen=True):
    """What was measured on one set; None where its rows cannot support a figure."""

    name: str
    rows: int
    unsafe: int
    auprc: float | None
    auprc_interval: Interval | None
    f1: float | None
    recall: float | None
    false_alarms: float | None
    recall_at_2: float | None = None
    """With each head's threshold moved until 2 % of the harmless set `CALM` are flagged by it."""


CALM = "benign_multilingual"
"""The set of ordinary text in many languages that `recall_at_2` is measured against."""


def measure(name: str, bench: Path, samples: int = 1000) -> list[Measured]:
    """Judge every set of a folder with one tier."""
    judged = subject(name)
    with TemporaryDirectory() as folder:
        options = moderation.Options(samples=samples, timed=0, keep=Path(folder))
        try:
            done = moderation.run(judged, tasks([bench]), options, _told)
        finally:
            judged.close()
        kept = {file.stem: _verdicts(file) for file in Path(folder).glob("*.jsonl")}
    calm = kept.get(CALM, [])
    return [
        Measured(
            entry.name,
            entry.figures.judged,
            entry.figures.unsafe,
            entry.figures.auprc,
            entry.figures.auprc_interval,
            entry.figures.f1,
            entry.figures.recall,
            entry.figures.false_alarms,
            recall_at(kept[entry.name], calm, judged.heads),
        )
        for entry in done.sets
        if entry.figures.judged
    ]


def _verdicts(file: Path) -> list[Judged]:
    return [msgspec.json.decode(line, type=Judged) for line in file.read_bytes().splitlines()]


def recall_at(
    rows: Sequence[Judged],
    calm: Sequence[Judged],
    heads: Mapping[Question, Head],
    rate: float = 0.02,
) -> float | None:
    """Return the share of unsafe rows that score above all but `rate` of the calm ones.

    None if no row is unsafe, there are no calm ones, or answers are judged: calm rows are none.
    """
    unsafe = [row for row in rows if row.unsafe and row.questions]
    if not unsafe or not calm:
        return None
    asked = {row.questions[0] for row in unsafe}
    if Question.RESPONSE in asked:
        return None
    limits = {
        question: float(np.quantile([heads[question].score(row.scores) for row in calm], 1 - rate))
        for question in asked
    }
    found = [heads[row.questions[0]].score(row.scores) > limits[row.questions[0]] for row in unsafe]
    return sum(found) / len(found)


def card(known: Description, figures: Sequence[Measured], data: Sequence[Example]) -> str:
    """Write the card of one tier from its template, `card.NAME.md`."""
    table = "\n".join(
        f"| {f.name} | {f.rows} | {f.unsafe} | "
        f"{tables.with_interval(f.auprc, f.auprc_interval)} | {_shown(f.f1)} | "
        f"{_shown(f.recall)} | {_shown(f.false_alarms)} | {_shown(f.recall_at_2)} |"
        for f in figures
    )
    heads = "\n".join(f"| {head.name} | {head.threshold:.3f} |" for head in known.heads)
    listed = {(row.source, row.licence) for row in data} | {OWN} | {*PARALLEL}
    sources = "\n".join(f"| {source} | {licence} |" for source, licence in sorted(listed))
    template = Path(__file__).with_name(f"card.{known.name}.md").read_text(encoding="utf-8")
    return template.format(
        sha256=known.sha256,
        rows=2**known.bits,
        languages=", ".join(language.name for language in known.languages),
        table=table,
        heads=heads,
        sources=sources,
    )


def main(bench: Path, data: Path, folder: Path = HERE, names: Sequence[str] = TIERS) -> None:
    """Measure, and write both files of each tier."""
    trained = [row for file in jsonl.files(data) for row in jsonl.read(file)]
    for name in names:
        if not (folder / f"{name}.json").exists():
            continue
        figures = measure(name, bench)
        known = describe(name, folder)
        (folder / f"{name}.md").write_text(card(known, figures, trained), encoding="utf-8")
        encoded = msgspec.json.format(msgspec.json.encode(figures), indent=1)
        (folder / f"{name}.metrics.json").write_bytes(encoded + b"\n")


def _told(name: str, done: int, of: int) -> None:
    if done == of:
        print(f"{name}: {of} rows", flush=True)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="measure the shipped tiers and write their cards")
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tier", action="append", choices=TIERS)
    given = parser.parse_args()
    main(given.bench, given.data, names=given.tier or TIERS)

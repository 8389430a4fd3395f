r"""Prompts that look like attacks on a model, and attacks that look like ordinary prompts.

`XX.tsv` holds lines `label<TAB>text`, label `safe` or `attack`; `\n` is a line break. Roles, rules,
games and orders to ignore something stand on both sides: what tells them apart is whether a model
is to drop the instructions it has. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE


def examples() -> list[Example]:
    """Return the prompts of every language."""
    here = Path(__file__).parent
    return [row for file in sorted(here.glob("*.tsv")) for row in _rows(file)]


def _rows(file: Path) -> Iterator[Example]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        label, text = line.split("\t", 1)
        yield Example(
            f"role-{file.stem}-{number}",
            text.replace("\\n", "\n"),
            "unsafe" if label == "attack" else "safe",
            Kind.INJECTION if label == "attack" else Kind.HARD_BENIGN,
            lang=file.stem,
            source=f"roles-{label}",
            licence=LICENCE,
        )

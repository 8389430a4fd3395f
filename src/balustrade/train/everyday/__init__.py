r"""Everyday requests to an assistant in many languages, that set thresholds and teach nothing.

Held-out public rows are of the sources that were taught, and outside English next to all of them
are reading questions, commands or sentences: a promise of few false alarms made on them alone does
not hold for what people ask. `XX.txt` holds a harmless request a line, written for this project;
`\n` is a line break. Apache-2.0.
"""

from __future__ import annotations

from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE

SOURCE = "everyday-"
"""Beginning of the names of these sources."""


def examples() -> list[Example]:
    """Return the requests of every language."""
    return [
        Example(
            f"{SOURCE}{file.stem}-{number}",
            line.replace("\\n", "\n"),
            "safe",
            Kind.BENIGN,
            lang=file.stem,
            source=f"{SOURCE}{file.stem}",
            licence=LICENCE,
        )
        for file in sorted(Path(__file__).parent.glob("*.txt"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    ]

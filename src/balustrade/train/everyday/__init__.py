r"""Everyday requests and harmless answers in many languages, that set thresholds and teach nothing.

Held-out public rows are of the sources that were taught, and outside English next to all of them
are reading questions, commands or sentences, and none an answer: a promise of few false alarms made
on them alone does not hold for what people ask and are told. `XX.txt` holds a harmless request a
line; `answers/XX.tsv` how an answer is (`plain`, or `delicate`: a refusal, or on a heavy subject),
its request and the answer. All were written for this project; `\n` is a line break. Apache-2.0.
"""

from __future__ import annotations

from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE

SOURCE = "everyday-"
"""Beginning of the names of these sources."""


def examples() -> list[Example]:
    """Return the requests and the answers of every language."""
    return [*_requests(), *answers()]


def _requests() -> list[Example]:
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


def answers() -> list[Example]:
    """Return the answers of every language."""
    return [
        Example(
            f"{SOURCE}answer-{file.stem}-{number}",
            request.replace("\\n", "\n"),
            "safe",
            Kind.RESPONSE,
            response=answer.replace("\\n", "\n"),
            lang=file.stem,
            source=f"{SOURCE}{manner}-{file.stem}",
            licence=LICENCE,
        )
        for file in sorted(Path(__file__).with_name("answers").glob("*.tsv"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for manner, request, answer in [line.split("\t")]
    ]

r"""Everyday requests and harmless answers in many languages, that set thresholds and teach nothing.

Held-out public rows are of the sources that were taught, and outside English next to all of them
are reading questions, commands or sentences; answers are few, all English or Chinese. A promise of
few false alarms made on them alone does not hold for what people ask and are told. `XX.txt` holds a
harmless request a line; `answers/XX.tsv` how an answer is (`plain`, or `delicate`: a refusal, or on
a heavy subject), its request and the answer. All were written for this project; `\n` is a line
break. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
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
            f"{SOURCE}{lang}-{number}",
            text,
            "safe",
            Kind.BENIGN,
            lang=lang,
            source=f"{SOURCE}{lang}",
            licence=LICENCE,
        )
        for lang, number, text in _lines("*.txt")
    ]


def answers() -> list[Example]:
    """Return the answers of every language."""
    return [
        Example(
            f"{SOURCE}answer-{lang}-{number}",
            request,
            "safe",
            Kind.RESPONSE,
            response=answer,
            lang=lang,
            source=f"{SOURCE}{manner}-{lang}",
            licence=LICENCE,
        )
        for lang, number, line in _lines("answers/*.tsv")
        for manner, request, answer in [line.split("\t")]
    ]


def _lines(pattern: str) -> Iterator[tuple[str, int, str]]:
    """Yield each line of each language's file, with the language and its number."""
    for file in sorted(Path(__file__).parent.glob(pattern)):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            yield file.stem, number, line.replace("\\n", "\n")

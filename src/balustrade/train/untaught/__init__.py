r"""Rows that nothing is taught: they choose what rows of taught sources would choose wrongly.

`requests/XX.tsv` holds lines `label<TAB>hazard<TAB>text`: harmful requests and posts, most with a
harmless twin of many of the same words, by language. `attacks/XX.tsv` holds lines
`label<TAB>text`, label `attack` or `safe`: prompts that would have a model drop its rules, and
their look-alikes. `\n` is a line break; hazard `-` is none, or harm that fits none. Written for
this; no native speaker has reviewed them. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE

HERE = Path(__file__).parent


def examples() -> list[Example]:
    """Return all rows, requests and posts first."""
    return [*_rows("requests", Kind.PROMPT), *_rows("attacks", Kind.INJECTION)]


def _rows(folder: str, harmful: Kind) -> Iterator[Example]:
    for file in sorted((HERE / folder).glob("*.tsv")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            label, *hazards, text = line.split("\t")
            yield Example(
                f"untaught-{folder}-{file.stem}-{number}",
                text.replace("\\n", "\n"),
                "safe" if label == "safe" else "unsafe",
                Kind.HARD_BENIGN if label == "safe" else harmful,
                hazards=tuple(hazard for hazard in hazards if hazard != "-"),
                lang=file.stem,
                source=f"untaught-{folder}",
                licence=LICENCE,
            )

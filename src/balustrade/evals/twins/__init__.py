r"""Sets of our own that measure any guard with nothing to download: texts, most beside a twin.

`requests/XX.tsv` holds lines `label<TAB>hazard<TAB>text`: harmful requests and posts, and harmless
ones that share many of their words, by language. `attacks/XX.tsv` holds lines `label<TAB>text`,
label `attack` or `safe`: prompts that would have a model drop its rules, and what looks like them.
`\n` is a line break; hazard `-` is none, or harm that fits none. Nothing of ours learns from them.
Written for this, mild, without any method; no native speaker has reviewed them. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.evals.task import Task, drawn

HERE = Path(__file__).parent
SETS = {"requests": Kind.PROMPT, "attacks": Kind.INJECTION}
"""Each folder, and what its harmful rows are."""


def tasks(*, limit: int = 0, seed: int = 0) -> list[Task]:
    """Return the sets, named `twins_` and their folder.

    Args:
        limit: At most so many rows of each, drawn without replacement; 0 for all.
        seed: Which rows are drawn; they keep their order.
    """
    return [Task(f"twins_{folder}", drawn(tuple(_rows(folder)), limit, seed)) for folder in SETS]


def _rows(folder: str) -> Iterator[Example]:
    for file in sorted((HERE / folder).glob("*.tsv")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            label, *hazards, text = line.split("\t")
            yield Example(
                f"twins-{folder}-{file.stem}-{number}",
                text.replace("\\n", "\n"),
                "safe" if label == "safe" else "unsafe",
                Kind.HARD_BENIGN if label == "safe" else SETS[folder],
                hazards=tuple(hazard for hazard in hazards if hazard != "-"),
                lang=file.stem,
                source=f"twins-{folder}",
                licence="Apache-2.0",
            )

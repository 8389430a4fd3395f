r"""Ordinary requests to an assistant in many languages: nothing is wrong with any of them.

Public requests in most languages are either harmful or a reading question, so a model would learn
that an instruction as such is harmful. `XX.tsv` holds lines `kind<TAB>text`: `task` takes a `topic`
for `{t}`, `whole` stands alone; `\n` is a line break. About a fifth sounds risky. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE

FILLED = 900
"""Requests of each language that are made of a task and a topic."""


def examples(seed: int = 0) -> list[Example]:
    """Return the requests of every language."""
    here = Path(__file__).parent
    return [row for file in sorted(here.glob("*.tsv")) for row in _rows(file, seed)]


def _rows(file: Path, seed: int) -> Iterator[Example]:
    lang = file.stem
    texts: dict[str, list[str]] = {"task": [], "topic": [], "whole": []}
    for line in file.read_text(encoding="utf-8").splitlines():
        kind, text = line.split("\t", 1)
        texts[kind].append(text.replace("\\n", "\n"))
    rng = Random(f"{seed}-{lang}")
    both = [(task, topic) for task in texts["task"] for topic in texts["topic"]]
    for number, (task, topic) in enumerate(rng.sample(both, min(FILLED, len(both))), 1):
        yield _row(f"{lang}-{number}", task.replace("{t}", topic), lang)
    for number, text in enumerate(texts["whole"], 1):
        yield _row(f"{lang}-whole-{number}", text, lang)


def _row(name: str, text: str, lang: str) -> Example:
    said = text[:1].upper() + text[1:]
    return Example(
        f"task-{name}", said, "safe", Kind.HARD_BENIGN, lang=lang, source=f"tasks-{lang}",
        licence=LICENCE,
    )  # fmt: skip

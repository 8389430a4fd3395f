"""Posts and prose of several sentences on one matter, harmful and harmless.

Public rows of abuse are short, and long ones are harmful as a rule; so is whatever is heated, blunt
or about bodies. Here politics, games, films, news, health, love and loss are talked of at length
and hurt nobody, while sexual prose, wishes to die, gore, threats, hate and insults stand among such
sentences. `XX.tsv` holds lines `ID<TAB>sentence`: `safe-TOPIC-N`, or `HAZARD-N` (`harass-N` has no
hazard). Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE, read

COUNT = 600
"""Posts of each hazard, and of each harmless topic half as many."""

NEAR = {
    "S12": ("romance", "story", "family", "shop", "film", "health"),
    "S11": ("support", "family", "health", "story", "rant"),
    "S1": ("story", "news", "film", "games", "politics", "history"),
    "S10": ("politics", "news", "history", "identity", "rant"),
    "harass": ("rant", "politics", "games", "film", "family", "identity"),
}
"""Topics that a hazard comes up among."""


def examples(seed: int = 0) -> list[Example]:
    """Return the posts of every language."""
    here = Path(__file__).parent
    return [row for file in sorted(here.glob("*.tsv")) for row in _rows(file, seed)]


def _rows(file: Path, seed: int) -> Iterator[Example]:
    lang = file.stem
    harmless: dict[str, list[str]] = {}
    harmful: dict[str, list[str]] = {}
    for name, text in read(file).items():
        kind = name.rpartition("-")[0]
        pool = harmless if kind.startswith("safe-") else harmful
        pool.setdefault(kind.removeprefix("safe-"), []).append(text)
    rng = Random(f"{seed}-{lang}")
    known = {row.text: row for row in _made(rng, lang, harmless, harmful)}
    yield from known.values()


def _made(
    rng: Random, lang: str, harmless: dict[str, list[str]], harmful: dict[str, list[str]]
) -> Iterator[Example]:
    for topic, own in sorted(harmless.items()):
        for number in range(COUNT // 2):
            others = harmless[rng.choice(sorted(harmless))] if rng.random() < 0.3 else own
            lines = rng.sample(own, rng.choice([1, 1, 2, 3, 4])) + rng.sample(
                others, rng.choice([0, 0, 1, 2, 3])
            )
            yield _row(f"{lang}-{topic}-{number}", _joined(rng, lines), lang, "safe", "")
    for hazard, own in sorted(harmful.items()):
        near = [topic for topic in NEAR[hazard] if topic in harmless]
        for number in range(COUNT):
            lines = rng.sample(own, rng.choice([1, 1, 1, 2, 3]))
            others = harmless[rng.choice(near)]
            lines += rng.sample(others, rng.choice([0, 0, 1, 2, 3, 4]))
            rng.shuffle(lines)
            yield _row(f"{lang}-{hazard}-{number}", _joined(rng, lines), lang, "unsafe", hazard)


def _joined(rng: Random, lines: list[str]) -> str:
    return rng.choice([" ", " ", " ", "\n", "\n\n"]).join(dict.fromkeys(lines))


def _row(name: str, text: str, lang: str, label: str, hazard: str) -> Example:
    hurts = hazard in {"S1", "S10", "S12", "harass"}
    kind = Kind.TOXICITY if hurts else Kind.PROMPT if hazard else Kind.HARD_BENIGN
    return Example(
        f"prose-{name}",
        text,
        "unsafe" if label == "unsafe" else "safe",
        kind,
        hazards=(hazard,) if hazard.startswith("S") else (),
        lang=lang,
        source=f"prose-{label}-{lang}",
        licence=LICENCE,
    )

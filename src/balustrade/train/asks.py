"""Questions that are nearly the same in words, once harmful and once not: `asks.toml` filled."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random

import msgspec

from balustrade.core.spec import Spec
from balustrade.data.example import Example, Kind
from balustrade.train.grammar import filled
from balustrade.train.languages import LICENCE

COUNT = 700
"""Questions of each pair and label, before copies are dropped."""


class Pair(Spec, frozen=True):
    """Templates of one hazard."""

    hazard: str
    unsafe: tuple[str, ...]
    safe: tuple[str, ...]


def examples(seed: int = 0) -> list[Example]:
    """Return the questions, in English."""
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    slots: dict[str, list[str]] = known["slot"]
    rng = Random(seed)
    found: dict[str, Example] = {}
    for place, pair in enumerate(msgspec.convert(known["pair"], list[Pair])):
        for label, templates in (("unsafe", pair.unsafe), ("safe", pair.safe)):
            for number in range(COUNT):
                text = _filled(rng, rng.choice(templates), slots)
                row = Example(
                    f"ask-{place}-{label}-{number}",
                    text,
                    "unsafe" if label == "unsafe" else "safe",
                    Kind.PROMPT if label == "unsafe" else Kind.HARD_BENIGN,
                    hazards=(pair.hazard,) if label == "unsafe" else (),
                    lang="en",
                    source=f"asks-{label}",
                    licence=LICENCE,
                )
                found.setdefault(text, row)
    return list(found.values())


def _filled(rng: Random, template: str, slots: dict[str, list[str]]) -> str:
    text = filled(template, lambda name: rng.choice(slots[name]))
    return text[:1].upper() + text[1:]

"""How to do things: what an assistant is asked all day, and the same forms asking for harm.

Public harmless rows hardly ask for code, plans or advice, and harmful ones always ask how; so the
form alone came to count. `XX.toml` holds forms with `{do}` (`code` for programs alone), harmless
things to do, many of which sound otherwise, and harmful ones of a hazard. Apache-2.0.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE

SAFE, UNSAFE = 1_400, 450
"""Requests of each language that are made of a form and a thing to do."""


def examples(seed: int = 0) -> list[Example]:
    """Return the requests of every language."""
    here = Path(__file__).parent
    return [row for file in sorted(here.glob("*.toml")) for row in _rows(file, seed)]


def _rows(file: Path, seed: int) -> Iterator[Example]:
    lang, known = file.stem, tomllib.loads(file.read_text(encoding="utf-8"))
    rng = Random(f"{seed}-{lang}")
    asked, coded = known["frames"], known["code"]
    safe = [("", *each) for each in _both(asked, known["safe"]) + _both(coded, known["programs"])]
    unsafe = [
        (part["hazard"], form, do)
        for part in known["unsafe"]
        for form, do in _both([*asked, *(coded if part["hazard"] == "S14" else ())], part["do"])
    ]
    chosen = rng.sample(safe, min(SAFE, len(safe))) + rng.sample(unsafe, min(UNSAFE, len(unsafe)))
    for number, (hazard, form, do) in enumerate(chosen, 1):
        yield Example(
            f"howto-{lang}-{number}",
            form.replace("{do}", do),
            "unsafe" if hazard else "safe",
            Kind.PROMPT if hazard else Kind.HARD_BENIGN,
            hazards=(hazard,) if hazard else (),
            lang=lang,
            source=f"howtos-{lang}",
            licence=LICENCE,
        )


def _both(forms: Sequence[str], things: Sequence[str]) -> list[tuple[str, str]]:
    return [(form, do) for form in forms for do in things]

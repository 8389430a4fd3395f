"""Posts about groups of people, abusive and fair, in many languages: templates times groups.

`XX.tsv` holds lines `ID<TAB>text`: `group-N` are groups, `bad-N` and `good-N` take one for `{g}`,
`hurt-N` insult whoever reads them, `self-N` swear or speak of violence and hurt nobody. Abuse and
its denial, its report and its rebuke use the same words, and so do fair posts about the same group:
the word for a group says nothing, what is said of it everything. Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train.languages import LICENCE, read


def examples() -> list[Example]:
    """Return every template with every group, in every language."""
    here = Path(__file__).parent
    return [row for file in sorted(here.glob("*.tsv")) for row in _rows(file.stem, read(file))]


def _rows(lang: str, texts: dict[str, str]) -> Iterator[Example]:
    groups = [(name, text) for name, text in texts.items() if name.startswith("group-")]
    for name, text in texts.items():
        kind = name.partition("-")[0]
        if kind in {"bad", "good"}:
            for group, called in groups:
                said = text.replace("{g}", called)
                said = said[:1].upper() + said[1:]
                yield _row(f"{lang}-{name}-{group}", said, lang, kind == "bad", hate=True)
        elif kind in {"hurt", "self"}:
            yield _row(f"{lang}-{name}", text, lang, kind == "hurt", hate=False)


def _row(name: str, text: str, lang: str, unsafe: bool, *, hate: bool) -> Example:
    return Example(
        f"post-{name}",
        text,
        "unsafe" if unsafe else "safe",
        Kind.TOXICITY,
        hazards=("S10",) if unsafe and hate else (),
        lang=lang,
        source=f"posts-{lang}",
        licence=LICENCE,
    )

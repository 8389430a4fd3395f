"""Our own phrases, the same in many languages: requests, their harmless twins, posts, orders.

`en.tsv` and one file a language beside it hold lines `ID<TAB>text`; an ID means the same in every
file. `frame-*` take an act (`act-S1-1`: harmful, of that hazard; `safe-1`: harmless) for `{a}`.
Nothing tells how to do harm; what is harmful is what is asked for. Apache-2.0.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from balustrade.data.example import Example, Kind
from balustrade.train.excluded import excluded
from balustrade.train.parallel import Pair

LICENCE = "Apache-2.0"
FRAMES = 3
"""Frames each act is put into."""


@cache
def phrases() -> dict[str, dict[str, str]]:
    """Return for each language its texts by ID, without those that copy a test row."""
    here = Path(__file__).parent
    return {
        file.stem: {
            name: text
            for name, text in read(file).items()
            if f"own-{file.stem}-{name}" not in excluded()
        }
        for file in sorted(here.glob("*.tsv"))
    }


def read(file: Path) -> dict[str, str]:
    """Return the texts of one file by ID."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def pairs(seed: int = 0) -> list[Pair]:
    """Return what is the same in English and each other language; acts in frames as well."""
    rng = Random(seed)
    known = phrases()
    found = []
    for lang, texts in known.items():
        if lang == "en":
            continue
        for name, text in texts.items():
            kind = name.partition("-")[0]
            english = known["en"].get(name)
            if english is None or kind == "frame":
                continue
            if kind == "word":
                found += [Pair(english, word.strip(), lang) for word in text.split(" / ")]
            else:
                found.append(Pair(english, text, lang))
            if kind in {"act", "safe"}:
                for frame in _frames(texts, rng, FRAMES):
                    both = (known["en"][frame], texts[frame])
                    found.append(
                        Pair(both[0].replace("{a}", english), both[1].replace("{a}", text), lang)
                    )
    return found


SPACELESS = frozenset({"zh", "zh-Hant", "ja", "th"})
"""Languages written without spaces between words."""


def words(least: int = 2) -> list[str]:
    """Return words of other languages than English as pieces of a vocabulary name them.

    All entries of the word list that are one word, and what stands in at least `least` phrases.
    """
    found: dict[str, None] = {}
    for lang, texts in phrases().items():
        if lang == "en":
            continue
        counts: Counter[str] = Counter()
        for name, text in texts.items():
            folded = unicodedata.normalize("NFKC", text).lower()
            if name.startswith("word-"):
                listed = [word.strip() for word in folded.split(" / ")]
                counts.update({word: least for word in listed if _is_word(word)})
            elif lang not in SPACELESS:
                counts.update(filter(_is_word, _split(folded)))
        start = "" if lang in SPACELESS else "▁"
        found |= {start + word: None for word, count in counts.items() if count >= least}
    return list(found)


def _split(text: str) -> list[str]:
    """Split at spaces, punctuation and symbols; a vowel sign is part of its word."""
    kept = (c if unicodedata.category(c)[0] in "LM" else " " for c in text)
    return "".join(kept).split()


def _is_word(text: str) -> bool:
    return 1 < len(text) < 15 and _split(text) == [text]


def examples(seed: int = 0) -> list[Example]:
    """Return labelled rows of every language, acts in frames."""
    rng = Random(seed)
    return [row for lang, texts in phrases().items() for row in _labelled(lang, texts, rng)]


def _labelled(lang: str, texts: dict[str, str], rng: Random) -> Iterator[Example]:
    for name, text in texts.items():
        kind = name.partition("-")[0]
        if kind in {"frame", "word"}:
            continue
        if kind in {"act", "safe"}:
            for number, frame in enumerate(_frames(texts, rng, FRAMES)):
                yield _row(name, texts[frame].replace("{a}", text), lang, f"-{number}")
        yield _row(name, text, lang, "")


def _row(name: str, text: str, lang: str, suffix: str) -> Example:
    stem, label, kind = next(
        (stem, label, kind) for stem, label, kind in _KINDS if name.startswith(stem)
    )
    hazards = (name.split("-")[1],) if stem == "act" else ()
    if stem == "post-bad" and int(name.rpartition("-")[2]) in _HATE:
        hazards = ("S10",)
    return Example(
        f"own-{lang}-{name}{suffix}",
        text,
        "unsafe" if label else "safe",
        kind,
        hazards=hazards,
        lang=lang,
        source=f"phrases-{lang}",
        licence=LICENCE,
    )


def _frames(texts: dict[str, str], rng: Random, count: int) -> list[str]:
    names = [name for name in texts if name.startswith("frame-")]
    return sorted(rng.sample(names, min(count, len(names))))


_KINDS = (
    ("act", True, Kind.PROMPT),
    ("ask-bad", True, Kind.PROMPT),
    ("safe", False, Kind.HARD_BENIGN),
    ("ask-good", False, Kind.HARD_BENIGN),
    ("post-bad", True, Kind.TOXICITY),
    ("post-good", False, Kind.TOXICITY),
    ("inj", True, Kind.INJECTION),
    ("clean", False, Kind.INJECTION),
)
_HATE = frozenset({*range(2, 15), 25, 30, 31, 32, 33, 34, 36, 37, 38, 39, 40, 41, 42, 47, 48, 50})
"""Numbers of the posts that are about a group of people."""

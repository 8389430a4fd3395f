"""Every row the shipped guards learn from: public data, our own grammar, phrases and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.data.split import share_of
from balustrade.text.normalise import normalise
from balustrade.train import (
    asks,
    everyday,
    grammar,
    howtos,
    languages,
    parallel,
    posts,
    prose,
    roles,
    scenes,
    tasks,
)
from balustrade.train.excluded import excluded
from balustrade.train.parallel import Pair


class Sizes(NamedTuple):
    """How many rows of our own are made."""

    grammar: int = 1_500
    scenes: int = 4_000
    sentences: int = 700
    """Ordinary sentences of each language that are shown as harmless."""
    seed: int = 0


class Corpus(NamedTuple):
    """Rows, the source each counts to, and texts that are the same in two languages."""

    rows: list[Example]
    stems: list[str]
    pairs: list[Pair]
    apart: Sequence[Example] = ()
    """Rows that calibrate and teach nothing, whatever is held out; each counts to its source."""


def load(data: Path, parallel_data: Path, sizes: Sizes) -> Corpus:
    """Read and make every row; those that copy a test row are left out by their IDs.

    Without a folder of parallel text there are no scenes, sentences and phrases.
    """
    if parallel_data == NONE:
        return _public(data, sizes)
    pairs = parallel.read(parallel_data)
    public = [
        (file.name.partition(".")[0], row) for file in jsonl.files(data) for row in jsonl.read(file)
    ]
    rows = [row for _, row in public if row.id not in excluded()]
    own = languages.examples(sizes.seed)
    own = [row for row in own if row.id not in excluded()]
    made = grammar.made(rows, sizes.grammar, sizes.seed)
    # What is held out for the calibration must not come back inside a scene.
    base = [row for row in [*rows, *own] if not is_held_out(row)]
    made += scenes.made(scenes.stock(base, pairs), sizes.scenes, sizes.seed)
    made += sentences(pairs, sizes.sentences, sizes.seed)
    made = [row for row in made if row.id not in excluded()]
    labelled = [(stem, row) for stem, row in public if row.id not in excluded()]
    labelled += [(row.source, row) for row in [*own, *made]]
    return Corpus(
        [row for _, row in labelled],
        [stem for stem, _ in labelled],
        pairs + languages.pairs(sizes.seed),
        [row for row in everyday.examples() if row.id not in excluded()],
    )


NONE = Path()


def _public(data: Path, sizes: Sizes) -> Corpus:
    """Return public rows and those of the grammar."""
    pairs = [
        (file.name.partition(".")[0], row)
        for file in jsonl.files(data)
        for row in jsonl.read(file)
        if row.id not in excluded()
    ]
    made = grammar.made([row for _, row in pairs], sizes.grammar, sizes.seed)
    pairs += [(row.source, row) for row in made]
    return Corpus([row for _, row in pairs], [stem for stem, _ in pairs], [])


def late(rounds: int = 2) -> list[Example]:
    """Return rows that teach but do not shape the vocabulary, so that adding some keeps it.

    The first round of the encoder's teaching sees fewer of them than the second.
    """
    rows = [
        *posts.examples(),
        *_contrasts(),
        *tasks.examples(),
        *prose.examples(),
        *asks.examples(),
        *roles.examples(),
    ]
    if rounds > 1:
        rows += [*_contrasts("again"), *howtos.examples()]
    return [row for row in rows if row.id not in excluded()]


def stories(corpus: Corpus, count: int, seed: int) -> list[Example]:
    """Return long texts in which one sentence matters; none has a sentence that was held out."""
    rows = [*corpus.rows, *late(1)]
    base = [row for row in rows if not row.id.startswith(MADE) and not is_held_out(row)]
    # Our own phrases are no ordinary sentences: some ask for harm.
    own = {*languages.pairs(seed)}
    pairs = [pair for pair in corpus.pairs if pair not in own]
    made = scenes.stories(scenes.stock(base, pairs), count, seed)
    return [row for row in made if row.id not in excluded()]


STORIES = 6_000
"""Stories of each rule that the encoder learns from."""
MADE = ("scene-", "grammar-", "sentence-", "prose-")
"""Beginnings of the IDs of rows that were made from others."""


def _contrasts(folder: str = "") -> list[Example]:
    """Return requests and their harmless twins: lines of label, hazard and text by language."""
    part = f"-{folder}" if folder else ""
    return [
        Example(
            f"contrast-{file.stem}{part}-{number}",
            text,
            "unsafe" if label == "unsafe" else "safe",
            Kind.PROMPT if label == "unsafe" else Kind.HARD_BENIGN,
            hazards=(hazard,) if hazard != "-" else (),
            lang=file.stem,
            source=f"contrasts-{file.stem}",
            licence=languages.LICENCE,
        )
        for file in sorted(Path(__file__).with_name("contrasts").joinpath(folder).glob("*.tsv"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for label, hazard, text in [line.split("\t", 2)]
    ]


OWN = (
    "phrases-", "posts-", "contrasts-", "tasks-", "prose-", "asks-", "roles-", "howtos-", "scene-",
    "story-", "sentences-", "grammar-",
)  # fmt: skip
"""Beginnings of the names of our own sources: harmless text of theirs sets no threshold."""
HELD_OUT = 0.05
"""Share of the rows that calibrate and never train."""


def is_held_out(row: Example) -> bool:
    """Whether a row is kept from training; phrases go together with their translations."""
    if row.source.startswith("phrases-"):
        return False
    return share_of(row.text + row.response) < HELD_OUT


CHARACTERS = 1_500
"""Read of each held-out text."""


class Held(NamedTuple):
    """Rows that teach nothing, their sources, and what a guard reads of them."""

    rows: list[Example]
    stems: list[str]
    texts: list[str]
    asked: list[str]
    """The request, where the row is an answer to it."""


def held_out(corpus: Corpus) -> Held:
    """Return the rows that calibrate, as a guard would have them read."""
    both = zip(corpus.rows, corpus.stems, strict=True)
    kept = [(row, stem) for row, stem in both if is_held_out(row)]
    kept += [(row, row.source) for row in corpus.apart]
    rows = [row for row, _ in kept]
    return Held(
        rows,
        [stem for _, stem in kept],
        [normalise(row.judged[:CHARACTERS]).text for row in rows],
        [
            normalise(row.text[:CHARACTERS]).text if row.kind is Kind.RESPONSE else ""
            for row in rows
        ],
    )


def sentences(pairs: Sequence[Pair], count: int, seed: int) -> list[Example]:
    """Return `count` ordinary sentences of each language as harmless rows."""
    rng = Random(seed)
    by_lang: dict[str, list[str]] = {}
    for pair in pairs:
        if len(pair.english) > 12:
            by_lang.setdefault(pair.lang, []).append(pair.other)
    found = []
    for lang, texts in sorted(by_lang.items()):
        chosen = sorted(rng.sample(range(len(texts)), min(count, len(texts))))
        found += [
            Example(
                f"sentence-{lang}-{number}",
                texts[number],
                "safe",
                Kind.BENIGN,
                lang=lang,
                source=f"sentences-{lang}",
                licence="see parallel/README",
            )
            for number in chosen
        ]
    return found

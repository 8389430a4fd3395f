"""What the encoder is taught: rows with their answers, how often each is drawn, how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from balustrade.data.example import Example, Kind
from balustrade.text.normalise import normalise
from balustrade.train import vocabulary
from balustrade.train.align import encoded
from balustrade.train.augment import Augment
from balustrade.train.corpus import Corpus, is_held_out
from balustrade.train.targets import ENCODER_HEADS, Targets, targets

WINDOW = 192
"""Tokens of a text that are read at once, marks included."""
REQUEST = 62
"""Tokens of the request that an answer is read with."""


class Row(NamedTuple):
    """What one row reads and teaches."""

    text: str
    answer: str
    lang: str
    truth: NDArray[np.float32]
    weight: NDArray[np.float32]


def prepared(
    corpus: Corpus, more: Sequence[Example] = (), without: tuple[str, ...] = ()
) -> tuple[list[Row], list[str]]:
    """Return what trains: rows that teach something and are not held out, and their sources."""
    examples = [*corpus.rows, *more]
    sources = [*corpus.stems, *(row.source for row in more)]
    known = targets(examples, ENCODER_HEADS)
    rows, stems = [], []
    for number, (example, stem) in enumerate(zip(examples, sources, strict=True)):
        left_out = is_held_out(example) or (without and stem.startswith(without))
        if known.weight[number].any() and not left_out:
            rows.append(row_of(example, Targets(known.truth[number], known.weight[number])))
            stems.append(stem)
    return rows, stems


def row_of(example: Example, known: Targets) -> Row:
    """Return a row as a guard would have it read."""
    asked = normalise(example.text[:4_000]).text
    answer = normalise(example.response[:2_000]).text if example.kind is Kind.RESPONSE else ""
    return Row(asked, answer, example.lang, known.truth.astype(np.float32), known.weight)


BOOSTS = {
    "phrases-en": 1.5,
    "phrases-": 0.9,
    "posts-": 0.5,
    "contrasts-en": 5.0,
    "contrasts-": 2.5,
    "story-": 1.5,
    "tasks-en": 1.5,
    "tasks-zh": 2.5,
    "tasks-": 1.0,
    "prose-safe-en": 2.0,
    "prose-unsafe-en": 2.0,
    "prose-": 0.8,
    "asks-": 1.5,
    "roles-": 5.0,
    "howtos-": 4.0,
    "sentences-": 0.5,
    "scene-": 1.2,
    "xquad": 1.8,
    "xsid": 1.8,
    "mgsm": 1.5,
    "bipia": 2.0,
    "inthewild": 2.0,
    "aegis": 2.5,
    "mlcommons": 1.3,
    "ailuminate": 3.0,
    "aart": 1.5,
    "harmfulqa": 2.0,
    "catqa": 2.5,
    "jade_prompts": 2.0,
    "advbench": 2.0,
    "trustllm": 2.0,
    "navirocker": 1.5,
    "harmful_instructions": 1.5,
    "cvalues": 2.0,
    "jade_responses": 2.5,
    "aisafetylab": 3.5,
    "benign_responses": 1.5,
    "arena_hard": 2.0,
    "ifeval": 1.5,
    "oasst": 2.0,
    "gpteacher": 1.5,
    "pii": 0.3,
    "sms": 0.5,
    "davidson": 1.3,
    "paradetox": 2.0,
    "toxic_spans": 1.3,
}
"""How much more or less often a source is drawn from than its size alone would have it."""


def draws(stems: Sequence[str], flatten: float) -> NDArray[np.float64]:
    """Return each row's chance to be drawn."""
    names, source, sizes = np.unique(stems, return_inverse=True, return_counts=True)
    boost = np.array(
        [next((b for stem, b in BOOSTS.items() if name.startswith(stem)), 1.0) for name in names]
    )
    chance = (sizes**-flatten * boost)[source]
    return np.asarray(chance / chance.sum())


def read(
    tokenizer: Tokenizer, rows: Sequence[Row], say: Augment, rng: Random
) -> tuple[list[list[int]], list[list[int]]]:
    """Return tokens and segments of rows as they are read this time.

    A long text shows one window. An answer comes with its request, or now and then alone.
    """
    said = [say([row.text, row.answer] if row.answer else [row.text], row.lang) for row in rows]
    firsts = encoded(tokenizer, [texts[0] for texts in said], 4_096)
    answers = encoded(tokenizer, [texts[1] if len(texts) > 1 else "" for texts in said], 4_096)
    tokens, segments = [], []
    for row, first, answer in zip(rows, firsts, answers, strict=True):
        if not row.answer:
            cut = _window(first, WINDOW, rng)
            tokens.append(cut)
            segments.append([0] * len(cut))
            continue
        cut = _window(answer, WINDOW, rng)
        if rng.random() < 0.25:
            tokens.append(cut)
            segments.append([0] * len(cut))
            continue
        asked = first if len(first) <= REQUEST else [*first[: REQUEST - 1], vocabulary.SEP]
        tokens.append(asked + cut[1:])
        segments.append([0] * len(asked) + [1] * (len(cut) - 1))
    return tokens, segments


def _window(tokens: list[int], most: int, rng: Random) -> list[int]:
    """Return a stretch of a long text, its beginning or its end more often than its middle."""
    if len(tokens) <= most:
        return tokens
    inside, room = tokens[1:-1], most - 2
    last = len(inside) - room
    start = rng.choice([0, last, rng.randint(0, last)])
    return [tokens[0], *inside[start : start + room], tokens[-1]]

"""Answers that begin harmless and turn abusive at a known word.

The harm is mild, and a stand-in: insults, written for this set, filled from short lists of words.
It says when a guard notices abuse that begins late, not how well it knows other harm.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random

import msgspec
from msgspec import Struct

from balustrade.evals.streams.answers import Answer

SENTENCES = 20
"""Of each answer."""

DECILES = 10


class Sentences(Struct, frozen=True):
    """What answers are made of; a word in braces stands for any of the list of that name."""

    asks: tuple[str, ...]
    calm: tuple[str, ...]
    harsh: tuple[str, ...]
    words: dict[str, tuple[str, ...]]


def onset_answers(count: int, *, seed: int = 0) -> list[Answer]:
    """Return harmful answers, as many for each decile of the onset, and as many harmless ones.

    An answer turns abusive with one of its sentences and stays so. A harmless one has none, and
    nothing else tells the two apart.

    Args:
        count: How many are harmful; of each decile a tenth of them, rounded down or up.
        seed: Of all that is drawn.
    """
    rng = Random(seed)  # noqa: S311 - not for secrets
    harmful = [_late(f"onset-{number}", number % DECILES, rng) for number in range(count)]
    harmless = [_written(f"calm-{number}", SENTENCES, rng) for number in range(count)]
    return [*harmful, *harmless]


def decile(answer: Answer) -> int:
    """Return in which tenth of its words an answer turns harmful, from 0."""
    return DECILES * answer.onset // answer.words


def _late(name: str, wanted: int, rng: Random) -> Answer:
    """Draw answers until the abuse of one begins in the tenth that is wanted."""
    while True:
        calm = SENTENCES * wanted // DECILES + rng.randint(0, SENTENCES // DECILES - 1)
        made = _written(name, calm, rng)
        if decile(made) == wanted:
            return made


def _written(name: str, calm: int, rng: Random) -> Answer:
    """Return an answer of so many harmless sentences, the rest of them abusive."""
    known = sentences()
    texts = _drawn(known.calm, calm, rng) + _drawn(known.harsh, SENTENCES - calm, rng)
    filled = [_filled(text, known.words, rng) for text in texts]
    ask = _filled(rng.choice(known.asks), known.words, rng)
    onset = sum(len(text.split()) for text in filled[:calm])
    return Answer(name, ask, " ".join(filled), calm < SENTENCES, "en", onset)


def _drawn(texts: Sequence[str], count: int, rng: Random) -> list[str]:
    return rng.sample(texts, count)


def _filled(text: str, words: Mapping[str, Sequence[str]], rng: Random) -> str:
    """Put a word of its list in the place of each name in braces."""
    return text.format_map({name: rng.choice(listed) for name, listed in words.items()})


@cache
def sentences() -> Sentences:
    """Return what answers are made of."""
    text = (files("balustrade.evals.streams") / "onset.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Sentences)

"""Harmless texts that set a monitor's thresholds, and the thresholds that they set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from balustrade.backends.recurrent import Recurrent
from balustrade.data.fineharm import FineHarm
from balustrade.evals.calibrate import promised, promises, strictest
from balustrade.shipped import Description
from balustrade.train import everyday
from balustrade.train.calibration import RATES
from balustrade.train.stopping import highest, limit

LONG = 1_500
"""Characters that are read of an answer."""
POST = "post"
"""The source of posts that are shown as answers: what is fair among them is no harmless answer."""
LONGEST = 4_000
"""Words of a long text."""
TEXTS = 400
"""Long texts that are made."""


def daily() -> list[tuple[str, str]]:
    """Return harmless answers to their requests, delicate ones among them, each by itself."""
    return [(row.text, row.response[:LONG]) for row in everyday.answers()]


def long_texts(held: Sequence[FineHarm], seed: int, count: int = TEXTS) -> list[tuple[str, str]]:
    """Return harmless texts of up to 4,000 words, made of held-out ones in new orders."""
    calm = [row for row in held if not row.is_harmful and row.source != POST]
    rng = Random(seed)
    found = []
    for _ in range(count):
        words, parts = rng.randint(100, LONGEST), []
        while words > 0:
            parts.append(rng.choice(calm))
            words -= sum(map(len, parts[-1].words))
        found.append((parts[0].prompt, " ".join(part.response for part in parts)))
    return found


def limited(known: Description, kinds: Sequence[Sequence[NDArray[np.float64]]]) -> Description:
    """Return a monitor's description with the thresholds that harmless texts of all kinds set.

    Args:
        known: The monitor, with its rule.
        kinds: The score of each word of each text, texts of each kind together (`heard`).
    """
    assert known.stop is not None
    highs = [[highest(scores, known.stop) for scores in texts] for texts in kinds]
    limits = limits_of(*highs)
    [head] = known.heads
    head = replace(head, threshold=promised(limits, known.false_alarms), thresholds=limits)
    return replace(known, heads=(head,))


def limits_of(*kinds: Sequence[float]) -> dict[str, float]:
    """Return the threshold for each rate that harmless texts of all kinds can promise.

    Args:
        kinds: The highest score in each text of a kind; what is promised holds for each of them.
    """
    return strictest([promises(RATES, partial(limit, highs)) for highs in kinds])


def heard(engine: Recurrent, answers: Sequence[tuple[str, str]]) -> list[NDArray[np.float64]]:
    """Return the score of each word of each answer, by the network that serves."""
    found = []
    for first in range(0, len(answers), 64):
        some = answers[first : first + 64]
        read = engine.read([request for request, _ in some], [text for _, text in some], ends=True)
        found += [np.array([word.score for word in each.words]) for each in read]
    return found

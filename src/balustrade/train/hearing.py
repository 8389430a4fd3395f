"""What a main head hears of the others: shares of their logits, added to its own.

Heads share a body and were taught by other rows each, so they err on other texts, and a sum of them
judges texts from elsewhere better than the one that was asked. Rows held out of teaching cannot
say by how much: there each head knows its own sources best. The shares were chosen on rows that
teach nothing and that no floor is set for (docs/adr/0021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.core.taxonomy import HARM, HAZARDS, INJECTION, RESPONSE_HARM, TOXICITY
from balustrade.train.targets import ENCODER_HEADS

Floats = NDArray[np.float32]

KINDS = tuple(ENCODER_HEADS.index(hazard.name) for hazard in HAZARDS if hazard.name != INJECTION)
"""Columns of the heads that name a kind of harm: S1 to S14."""


class Ear(NamedTuple):
    """What one head hears."""

    others: Mapping[str, float]
    """Shares of other heads' logits."""
    kinds: float = 0.0
    """Share of what all kinds of harm say together: the logarithm of the sum of their odds."""


EARS = {
    HARM: Ear({TOXICITY: 0.3}, kinds=0.3),
    INJECTION: Ear({TOXICITY: 0.3, RESPONSE_HARM: 0.3}),
}
"""Heads that hear; the others answer alone."""


class Shares(NamedTuple):
    """The same as numbers."""

    others: Floats
    """Shape (heads, heads): row by column, what a head (column) takes of each head (row)."""
    kinds: Floats
    """Shape (heads,)."""


def shares(ears: Mapping[str, Ear] = EARS) -> Shares:
    """Return what each head of the encoder takes of which: of itself all."""
    others = np.eye(len(ENCODER_HEADS), dtype=np.float32)
    kinds = np.zeros(len(ENCODER_HEADS), np.float32)
    for name, ear in ears.items():
        column = ENCODER_HEADS.index(name)
        kinds[column] = ear.kinds
        for other, share in ear.others.items():
            others[ENCODER_HEADS.index(other), column] = share
    return Shares(others, kinds)


def heard(logits: Floats, ears: Mapping[str, Ear] = EARS) -> Floats:
    """Return logits after each head has heard the others, shape (texts, heads)."""
    known = shares(ears)
    together = np.logaddexp.reduce(logits[:, KINDS], axis=1)
    return np.asarray(logits @ known.others + np.outer(together, known.kinds), np.float32)

"""How much the static tier counts where both tiers judge: for each head, by rows nothing learnt.

Rows that were held out come from sources that both tiers were taught, and the static tier, which
counts words, remembers a source far better than it judges another: by them it would count for up to
half of every head. So the share is that by which the rows of `untaught/` are told apart best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.backends.onnx import Onnx
from balustrade.backends.static import Static
from balustrade.backends.tiers import mixed, worst
from balustrade.data.example import Example
from balustrade.evals.metrics import average_precision
from balustrade.shipped import Description
from balustrade.text.normalise import normalise
from balustrade.train.corpus import CHARACTERS
from balustrade.train.targets import ENCODER_HEADS, targets

Floats = NDArray[np.float32]

PLAIN = 0.15
"""The share of a head of which the rows say nothing: answers, and posts by their own label. It was
the best for most heads on sets that may be looked at and not learnt from (docs/adr/0019)."""
TRIED = np.round(np.arange(0.0, 0.55, 0.05), 2)
"""No head counts the smaller tier for more than the larger."""
NEAR = 0.002
"""Average precision that is as good as the best: noise decides no further."""
ENOUGH = 100
"""Harmful rows below which a head's share is not chosen."""
SURE = 0.5
"""Rows whose label says less of a head do not count: that a harmful request is no attack on the
model, say, is likely and not known."""


class Both(NamedTuple):
    """Both tiers."""

    static: Static
    encoder: Onnx


def shares(tiers: Both, own: Description, rows: Sequence[Example]) -> dict[str, float]:
    """Return the static tier's part in the logit of each head that it has.

    Args:
        tiers: What the rows are shown to.
        own: The first tier's description.
        rows: What neither was taught.
    """
    texts = [normalise(row.text[:CHARACTERS]).text for row in rows]
    first, second = worst(tiers.static, texts), tiers.encoder.scores(texts)
    known = targets(rows, own.labels)
    found = dict.fromkeys(own.labels, PLAIN)
    for place, name in enumerate(own.labels):
        some = known.weight[:, place] > SURE
        truth = np.asarray(known.truth[some, place], np.bool_)
        if truth.sum() >= ENOUGH and not truth.all():
            found[name] = best(truth, first[some, place], second[some, ENCODER_HEADS.index(name)])
    return found


def best(truth: NDArray[np.bool_], static: Floats, encoder: Floats) -> float:
    """Return the share nearest to `PLAIN` that tells rows apart as well as any.

    Args:
        truth: Which rows are harmful, shape (rows,).
        static: Probabilities of the one tier, of that shape.
        encoder: Of the other.
    """
    found = np.array(
        [average_precision(truth, mixed(encoder, static, share)) or 0.0 for share in TRIED]
    )
    good = TRIED[found >= found.max() - NEAR]
    return float(good[np.abs(good - PLAIN).argmin()])

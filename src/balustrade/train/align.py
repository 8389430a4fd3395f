"""Bring a new vocabulary to mean what the old one meant: distillation on parallel text.

The base encoder reads the English side of a pair, the new one the other side, and is to reach the
same sentence vector (Reimers and Gurevych 2020, arXiv 2004.09813). The English side is read with
the new vocabulary too, plain and with words of other languages in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from balustrade.models.encoder import Encoder
from balustrade.train.precision import sixteen_bits

Floats = NDArray[np.float32]
TOKENS = 8_192
"""Tokens of a batch, padding included."""


class Batch(NamedTuple):
    """Texts of like length as numbers."""

    rows: list[int]
    pieces: Tensor
    segments: Tensor
    mask: Tensor


def batches(
    tokens: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None,
    most: int = TOKENS,
) -> Iterator[Batch]:  # fmt: skip
    """Sort texts by length and pad those of like length together."""
    order = sorted(range(len(tokens)), key=lambda row: (-len(tokens[row]), row))
    first = 0
    while first < len(order):
        time = len(tokens[order[first]])
        count = max(1, most // time)
        rows = order[first : first + count]
        pieces = torch.zeros(len(rows), time, dtype=torch.long)
        kinds = torch.zeros(len(rows), time, dtype=torch.long)
        mask = torch.zeros(len(rows), time, dtype=torch.bool)
        for place, row in enumerate(rows):
            size = len(tokens[row])
            pieces[place, :size] = torch.tensor(tokens[row])
            mask[place, :size] = True
            if segments is not None:
                kinds[place, :size] = torch.tensor(segments[row])
        yield Batch(rows, pieces, kinds, mask)
        first += count


def vectors(model: Encoder, tokens: Sequence[Sequence[int]]) -> Floats:
    """Return the sentence vector of each text, shape (texts, width), of length one."""
    found = np.zeros((len(tokens), model.shape.width), np.float32)
    model.eval()
    with torch.inference_mode(), sixteen_bits():
        for batch in batches(tokens, most=4 * TOKENS):
            states = model.states(batch.pieces, batch.segments, batch.mask)
            pooled = F.normalize(model.pooled(states.float(), batch.mask), dim=1)
            found[batch.rows] = pooled.numpy()
    return found


def loss(model: Encoder, batch: Batch, wanted: Tensor) -> Tensor:
    """Return one minus the cosine to the wanted vectors, and their squared distance, averaged."""
    states = model.states(batch.pieces, batch.segments, batch.mask)
    pooled = F.normalize(model.pooled(states.float(), batch.mask), dim=1)
    return (1 - (pooled * wanted).sum(dim=1)).mean()


def encoded(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> list[list[int]]:
    """Return the numbers of each text, cut at `most`, with the marks at both ends."""
    found: list[list[int]] = []
    for encoding in tokenizer.encode_batch_fast(list(texts)):
        ids = encoding.ids
        found.append(ids if len(ids) <= most else [*ids[: most - 1], ids[-1]])
    return found


def optimiser(model: Encoder, rate: float, heads: float, pieces: float | None = None) -> Any:  # noqa: ANN401
    """Return AdamW: heads and pieces learn at rates of their own, vectors and norms do not decay.

    `pieces` is twice the rate if not given.
    """
    own, words, plain, matrices = [], [], [], []
    for name, value in model.named_parameters():
        if name.startswith(("query", "local", "whole")):
            own.append(value)
        elif name.startswith("piece"):
            words.append(value)
        elif value.ndim < 2 or name.startswith(("position", "segment")):
            plain.append(value)
        else:
            matrices.append(value)
    groups = [
        {"params": matrices, "weight_decay": 0.01, "lr": rate},
        {"params": plain, "weight_decay": 0.0, "lr": rate * 2},
        {"params": own, "weight_decay": 0.01, "lr": heads},
        {"params": words, "weight_decay": 0.0, "lr": rate * 2 if pieces is None else pieces},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def warm(optimiser: Any, step: int, steps: int) -> None:  # noqa: ANN401
    """Set the rates for a step: up for a twentieth of the way, then down to a hundredth."""
    up = max(1, steps // 20)
    share = step / up if step < up else max(0.01, (steps - step) / max(1, steps - up))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share

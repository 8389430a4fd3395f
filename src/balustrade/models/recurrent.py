"""A gated recurrent unit over piece vectors: the backbone of the shipped stream monitor.

Cho et al. 2014 (arXiv 1406.1078), in the form that cuDNN computes. What `backends/recurrent.py`
reads with NumPy is what is taught here: `packed` turns the one into the other.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balustrade.models.scm import Monitor

Arrays = dict[str, NDArray[np.int8] | NDArray[np.float32]]


class Recurrent(nn.Module):
    """Tokens in, states out; no state depends on a later token.

    Args:
        pieces: Vectors that the pieces begin with, shape (pieces, width).
        states: Numbers of a state.
        drop: Share of the vectors' numbers dropped in training.
    """

    def __init__(self, pieces: Tensor, states: int, drop: float = 0.1) -> None:
        super().__init__()
        self.piece = nn.Embedding(len(pieces), pieces.shape[1], _weight=pieces)
        self.drop = nn.Dropout(drop)
        self.cell = nn.GRU(pieces.shape[1], states, batch_first=True)

    def forward(self, pieces: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return states, shape (batch, time, states); padding behind bears on nothing before it."""
        states: Tensor = self.cell(self.drop(self.piece(pieces)))[0]
        return states if mask is None else states * mask[..., None]


def packed(model: Monitor) -> tuple[Arrays, float]:
    """Return what serves: int8 rows with a scale each, the cell, the head; and the head's bias.

    The head has one logit for harm and one for none; their difference is the logit of harm.
    """
    backbone = model.backbone
    assert isinstance(backbone, Recurrent)
    rows = backbone.piece.weight.detach()
    scales = (rows.abs().amax(dim=1) / 127).clamp(min=1e-8)
    weights = {name: value.detach() for name, value in backbone.cell.named_parameters()}
    head, bias = model.token_classifier.weight.detach(), model.token_classifier.bias.detach()
    arrays = {
        "pieces": (rows / scales[:, None]).round().to(torch.int8),
        "scales": scales,
        "inner": weights["weight_ih_l0"].T,
        "inner_bias": weights["bias_ih_l0"],
        "outer": weights["weight_hh_l0"].T,
        "outer_bias": weights["bias_hh_l0"],
        "head": head[1] - head[0],
    }
    made = {name: np.ascontiguousarray(value.numpy()) for name, value in arrays.items()}
    return made, float(bias[1] - bias[0])

"""A stack of dilated causal convolutions: a backbone that looks a fixed way back.

Van den Oord et al. 2016 (WaveNet, arXiv 1609.03499), without its gates.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

KERNEL = 4


class Convolution(nn.Module):
    """Tokens in, states out; no state depends on a later token.

    Args:
        pieces: Vectors that the pieces begin with, shape (pieces, width).
        states: Numbers of a state.
        layers: Layers; each looks four times as far back as the one before.
        drop: Share of the vectors' numbers dropped in training.
    """

    def __init__(self, pieces: Tensor, states: int, layers: int = 4, drop: float = 0.1) -> None:
        super().__init__()
        self.piece = nn.Embedding(len(pieces), pieces.shape[1], _weight=pieces)
        self.drop = nn.Dropout(drop)
        self.enter = nn.Linear(pieces.shape[1], states)
        self.layers = nn.ModuleList(
            nn.Conv1d(states, states, KERNEL, dilation=KERNEL**layer) for layer in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(states) for _ in range(layers))

    def forward(self, pieces: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return states, shape (batch, time, states); padding behind bears on nothing before it."""
        x: Tensor = self.enter(self.drop(self.piece(pieces)))
        for place, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            back = (KERNEL - 1) * KERNEL**place
            x = x + F.gelu(layer(F.pad(norm(x).transpose(1, 2), (back, 0)))).transpose(1, 2)
        return x if mask is None else x * mask[..., None]

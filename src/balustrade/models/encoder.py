"""A small transformer encoder that answers many questions about a text in one pass.

The body is BERT's (Devlin et al. 2018, arXiv 1810.04805; post-norm, learnt positions, two segment
types), sized and named so that the weights of MiniLM-L6 sentence encoders load into it. Each head
reads the mean of all tokens and, by attention of its own, the tokens that matter to it: a short
order inside a long page is not averaged away.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it


class Shape(NamedTuple):
    """The sizes of an encoder."""

    pieces: int
    heads: int
    width: int = 384
    layers: int = 6
    attention: int = 12
    inner: int = 1536
    positions: int = 256


GROUP = 48
"""Numbers of a piece vector that share a scale, where vectors are four bits wide."""


def coarse(rows: Tensor) -> Tensor:
    """Round vectors to fifteen steps a group, as they are shipped; gradients pass unchanged.

    Straight-through rounding (Bengio et al. 2013, arXiv 1308.3432): what is trained on is what
    serves.
    """
    plain = rows.detach()
    groups = plain.view(*plain.shape[:-1], -1, GROUP)
    scale = (groups.abs().amax(dim=-1, keepdim=True) / 7).half().float().clamp(min=1e-8)
    rounded = ((groups / scale).round().clamp(-7, 7) * scale).flatten(-2)
    moved: Tensor = rows + (rounded - plain)
    return moved


class Block(nn.Module):
    """One layer: attention among tokens, then two dense layers, each with a residual and a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = shape.attention
        self.mix = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-12)
        self.up = nn.Linear(shape.width, shape.inner)
        self.down = nn.Linear(shape.inner, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor, drop: float) -> Tensor:
        """Return the layer's output, shape (batch, time, width); `drop` counts in training."""
        batch, time, width = x.shape
        heads, each = self.attention, width // self.attention
        parts = self.mix(x).view(batch, time, 3, heads, each).permute(2, 0, 3, 1, 4)
        # On a CPU two plain products are a third faster, backward too, than the fused attention.
        query, key, value = parts.reshape(3, batch * heads, time, each)
        heed = torch.bmm(query, key.transpose(1, 2)).view(batch, heads, time, time)
        heed = (heed * each**-0.5 + bias).softmax(dim=-1).to(value.dtype)
        mixed = torch.bmm(heed.view(batch * heads, time, time), value)
        mixed = mixed.view(batch, heads, time, each).transpose(1, 2)
        mixed = self.out(mixed.reshape(batch, time, width))
        x = self.norm1(x + F.dropout(mixed, drop, self.training))
        inner = self.down(F.gelu(self.up(x)))
        added: Tensor = self.norm2(x + F.dropout(inner, drop, self.training))
        return added


class Encoder(nn.Module):
    """Token numbers in, one logit a question out.

    Args:
        shape: Its sizes; `heads` questions.
        drop: Share of activations dropped in training; may be set anew.

    `is_coarse` makes it read its piece vectors rounded to four bits, as they are shipped.
    """

    def __init__(self, shape: Shape, drop: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.drop = drop
        self.is_coarse = False
        self.piece = nn.Embedding(shape.pieces, shape.width)
        self.position = nn.Embedding(shape.positions, shape.width)
        self.segment = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.query = nn.Linear(shape.width, shape.heads, bias=False)
        self.local = nn.Linear(shape.width, shape.heads, bias=False)
        self.whole = nn.Linear(shape.width, shape.heads)
        nn.init.normal_(self.query.weight, std=0.02)
        nn.init.normal_(self.local.weight, std=0.02)
        nn.init.normal_(self.whole.weight, std=0.02)
        nn.init.zeros_(self.whole.bias)

    def states(self, pieces: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """Return each token's state, shape (batch, time, width).

        Args:
            pieces: Token numbers, shape (batch, time).
            segments: 0 for the text or request, 1 for an answer to it, shape (batch, time).
            mask: True where a token is real, shape (batch, time).
        """
        places = torch.arange(pieces.shape[1], device=pieces.device)
        x = self.piece(pieces)
        x = coarse(x) if self.is_coarse else x
        x = x + self.position(places) + self.segment(segments)
        x = F.dropout(self.norm(x), self.drop, self.training)
        far = torch.zeros(mask.shape, dtype=x.dtype, device=x.device)
        bias = far.masked_fill(~mask, -1e4)[:, None, None, :]
        for block in self.blocks:
            x = block(x, bias, self.drop)
        state: Tensor = x
        return state

    @staticmethod
    def pooled(states: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of the real tokens' states, shape (batch, width)."""
        weight = mask.to(states.dtype)[..., None]
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1)

    def forward(self, pieces: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """Return logits, shape (batch, heads)."""
        states = self.states(pieces, segments, mask)
        return self.answers(states.float(), mask)

    def answers(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return logits from token states, shape (batch, heads)."""
        with torch.autocast("cpu", enabled=False):
            heed = self.query(states).masked_fill(~mask[..., None], -1e4).softmax(dim=1)
            local = (heed * self.local(states)).sum(dim=1)
            answers: Tensor = local + self.whole(self.pooled(states, mask))
            return answers


def from_bert(encoder: Encoder, weights: dict[str, Tensor]) -> None:
    """Load a BERT's weights, all but the piece vectors, which have a vocabulary of their own."""
    own = encoder.state_dict()
    own["position.weight"] = weights["embeddings.position_embeddings.weight"][
        : encoder.shape.positions
    ]
    own["segment.weight"] = weights["embeddings.token_type_embeddings.weight"]
    _copy(own, "norm", weights, "embeddings.LayerNorm")
    for number in range(encoder.shape.layers):
        old, new = f"encoder.layer.{number}", f"blocks.{number}"
        for part in ("weight", "bias"):
            own[f"{new}.mix.{part}"] = torch.cat(
                [
                    weights[f"{old}.attention.self.{name}.{part}"]
                    for name in ("query", "key", "value")
                ]
            )
        _copy(own, f"{new}.out", weights, f"{old}.attention.output.dense")
        _copy(own, f"{new}.norm1", weights, f"{old}.attention.output.LayerNorm")
        _copy(own, f"{new}.up", weights, f"{old}.intermediate.dense")
        _copy(own, f"{new}.down", weights, f"{old}.output.dense")
        _copy(own, f"{new}.norm2", weights, f"{old}.output.LayerNorm")
    encoder.load_state_dict(own)


def _copy(own: dict[str, Tensor], name: str, weights: dict[str, Tensor], old: str) -> None:
    for part in ("weight", "bias"):
        own[f"{name}.{part}"] = weights[f"{old}.{part}"]

"""A small causal transformer that reads a text once, or token by token with the same result.

Pre-norm blocks with rotary positions (Su et al. 2021, arXiv 2104.09864). What earlier tokens left
behind is a cache: with it a step costs one token's work, however much came before, up to `span`
tokens back; what lies farther is forgotten, in training as well.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it


class Shape(NamedTuple):
    """The sizes of a backbone."""

    pieces: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    inner: int = 256
    span: int = 512
    """How many tokens back a token looks, itself included."""


class Cache(NamedTuple):
    """What a stream's tokens left behind, and how many there were."""

    keys: tuple[Tensor, ...]
    """Of each layer, shape (batch, heads, time, width / heads), turned by their positions."""
    values: tuple[Tensor, ...]
    seen: int


class Causal(nn.Module):
    """Tokens in, states out; no state depends on a later token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.piece = nn.Embedding(shape.pieces, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        nn.init.normal_(self.piece.weight, std=0.02)

    def forward(self, pieces: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return states, shape (batch, time, width); padding behind bears on nothing before it."""
        states, _ = self.step(pieces, None)
        if mask is not None:
            states = states * mask[..., None]
        return states

    def step(self, pieces: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Read on: tokens, shape (batch, time), after those that the cache has seen."""
        seen = cache.seen if cache else 0
        x = self.piece(pieces)
        places = torch.arange(seen, seen + pieces.shape[1], device=pieces.device)
        turn = _turn(places, self.shape.width // self.shape.heads)
        keys, values = [], []
        for number, block in enumerate(self.blocks):
            before = (cache.keys[number], cache.values[number]) if cache else None
            x, key, value = block(x, turn, before)
            keys.append(key)
            values.append(value)
        return self.norm(x), Cache(tuple(keys), tuple(values), seen + pieces.shape[1])


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.span = shape.heads, shape.span
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.mix = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.up = nn.Linear(shape.width, shape.inner)
        self.down = nn.Linear(shape.inner, shape.width)

    def forward(
        self, x: Tensor, turn: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the layer's output, and the keys and values that later tokens may look at."""
        batch, time, width = x.shape
        parts = self.mix(self.norm1(x)).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        query, key = _turned(query, turn), _turned(key, turn)
        if before is not None:
            key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        total = key.shape[2]
        own = torch.arange(total - time, total, device=x.device)[:, None]
        other = torch.arange(total, device=x.device)[None]
        near = (other <= own) & (other > own - self.span)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=near)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        first = max(0, total - self.span + 1)
        return x, key[:, :, first:], value[:, :, first:]


def _turn(places: Tensor, width: int) -> Tensor:
    """Return the angle of each place and pair of numbers, shape (time, width / 2)."""
    rates = 10_000 ** (-torch.arange(0, width, 2, device=places.device) / width)
    return places[:, None] * rates


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of numbers by their angles, so that products tell how far apart two places are."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = turn.cos(), turn.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

"""Every backbone of a stream monitor reads forward only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from balustrade.models.causal import Causal, Shape
from balustrade.models.convolution import Convolution
from balustrade.models.recurrent import Recurrent

VECTORS = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "recurrent": lambda: Recurrent(VECTORS, 24),
    "convolution": lambda: Convolution(VECTORS, 24),
    "transformer": lambda: Causal(Shape(50, 16, 2, 4, 32, 64)),
}
each = pytest.mark.parametrize("name", sorted(BACKBONES))


@each
def test_no_state_hangs_on_a_later_token(name: str) -> None:
    model = BACKBONES[name]().eval()
    pieces = torch.randint(0, 50, (3, 40), generator=torch.Generator().manual_seed(1))
    changed = pieces.clone()
    changed[:, 25:] = (changed[:, 25:] + 7) % 50
    mask = torch.ones_like(pieces, dtype=torch.bool)
    with torch.inference_mode():
        before, after = model(pieces, mask), model(changed, mask)
    assert torch.allclose(before[:, :25], after[:, :25], atol=1e-5)
    assert not torch.allclose(before[:, 25:], after[:, 25:], atol=1e-3)


@each
def test_padding_behind_changes_nothing(name: str) -> None:
    model = BACKBONES[name]().eval()
    pieces = torch.randint(1, 50, (1, 12), generator=torch.Generator().manual_seed(2))
    padded = torch.cat([pieces, torch.zeros(1, 9, dtype=torch.long)], dim=1)
    mask = torch.arange(21)[None] < 12
    with torch.inference_mode():
        alone, together = model(pieces, mask[:, :12]), model(padded, mask)
    assert torch.allclose(alone[0], together[0, :12], atol=1e-5)
    assert not together[0, 12:].any()


def test_a_bidirectional_reader_is_found_out() -> None:
    model = nn.GRU(16, 12, batch_first=True, bidirectional=True).eval()
    pieces = VECTORS[torch.randint(0, 50, (1, 20))]
    changed = pieces.clone()
    changed[:, 15:] = 0
    with torch.inference_mode():
        assert not torch.allclose(model(pieces)[0][:, :15], model(changed)[0][:, :15], atol=1e-3)

"""A causal decoder of Hugging Face as the backbone of a stream monitor.

Any base model of transformers serves that reads `input_ids` and gives `last_hidden_state`, as
`AutoModel` makes it. `published` names its weights as the checkpoints of arXiv 2506.09996 do.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from balustrade.models.scm import Monitor


class Decoder(nn.Module):
    """Tokens in, states out; no state depends on a later token.

    Args:
        model: The decoder; transformers has no types here.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    @property
    def config(self) -> Any:  # noqa: ANN401
        """What transformers knows of the decoder."""
        return self.model.config

    @property
    def width(self) -> int:
        """Of a state."""
        return int((getattr(self.config, "text_config", None) or self.config).hidden_size)

    def forward(self, pieces: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return states, shape (batch, time, width); padding behind bears on nothing before it."""
        real = None if mask is None else mask.long()
        out = self.model(input_ids=pieces, attention_mask=real, use_cache=False)
        states: Tensor = out.last_hidden_state.float()
        return states if mask is None else states * mask[..., None]


def published(monitor: Monitor) -> dict[str, Tensor]:
    """Return a monitor's weights by the names of published checkpoints.

    The decoder's have before them what transformers looks for: `model.` for Qwen, Llama and most.
    """
    backbone = monitor.backbone
    assert isinstance(backbone, Decoder)
    prefix = f"{backbone.model.base_model_prefix}."
    inner = {prefix + name: value for name, value in backbone.model.state_dict().items()}
    heads = {k: v for k, v in monitor.state_dict().items() if not k.startswith("backbone.")}
    return {name: value.detach().contiguous() for name, value in (inner | heads).items()}

"""How exactly the encoder is taught."""

from __future__ import annotations

import torch


def sixteen_bits() -> torch.autocast:
    """Return what lets products be of sixteen bits, where the processor is the faster for it.

    Without AVX-512 such products are made by software, ten times as slowly as those of 32 bits.
    """
    is_fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.autocast("cpu", torch.bfloat16, enabled=is_fast)

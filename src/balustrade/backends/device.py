"""Devices that models run on, and the one lock each has.

Guards that share a device take turns: one forward pass at a time has its memory and its cores,
where two at once would only slow each other down, or not fit. The lock is the process's own; two
processes on one GPU do not know of each other.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import Any, cast

from balustrade.core.errors import BackendError
from balustrade.core.registry import require

DEVICE = "BALUSTRADE_DEVICE"
"""The environment variable that says where `hub:` models run: `cpu`, `cuda`, `cuda:1`, `mps`."""

_LOCKS: dict[str, Any] = {}


def device_of(name: str = "", environ: dict[str, str] | None = None) -> str:
    """Return the device that is meant: the one named, the environment's, a GPU, or the CPU.

    Raises:
        MissingExtraError: torch is not installed.
        BackendError: There is no such device here.
    """
    torch = cast("Any", require("a model on the hub", "torch"))
    wanted = name or (os.environ if environ is None else environ).get(DEVICE, "") or "auto"
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    known = kind in {"cpu", "cuda", "mps"} and (not number or number.isdigit())
    if not known:
        raise BackendError(f"no device is named {wanted!r}; expected cpu, cuda, cuda:1 or mps")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise BackendError(
            f"device {wanted!r} is not there: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs; use device cpu, or install a torch built for it"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise BackendError("device 'mps' is not there; use device cpu")
    return wanted


def lock_of(device: str) -> Any:  # noqa: ANN401 - a lock's type has no public name
    """Return the lock that whoever computes on a device must hold."""
    return _LOCKS.setdefault("cuda:0" if device == "cuda" else device, RLock())

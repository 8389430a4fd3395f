"""What answers for the models that are shipped, each made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from balustrade.backends.route import Backend
from balustrade.core.registry import load, require

BACKENDS = {
    "static": "balustrade.backends.static:Static",
    "encoder": "balustrade.backends.onnx:Onnx",
    "cascade": "balustrade.backends.tiers:Tiers",
    "ensemble": "balustrade.backends.tiers:Tiers",
    "monitor": "balustrade.backends.recurrent:Recurrent",
}
"""What makes the backend of each."""

RUNTIME = ("numpy", "onnxruntime")
NEEDS = {
    "static": RUNTIME[:1],
    "monitor": RUNTIME[:1],
    "encoder": RUNTIME,
    "cascade": RUNTIME,
    "ensemble": RUNTIME,
}
"""The modules that each needs."""

TIERED = ("cascade", "ensemble")
"""Models that are made of the static tier and the encoder."""


def makers() -> dict[str, Callable[[], Backend]]:
    """Return what makes the backend of each shipped model, for a `Route`.

    Those of both tiers are made of the same two backends that answer for the tiers.
    """
    made: dict[str, Backend] = {}
    return {name: partial(_made, name, made) for name in BACKENDS}


def require_shipped(models: Iterable[str]) -> None:
    """Raise MissingExtraError if one of these models is shipped and cannot run here."""
    for model in sorted(models):
        for module in NEEDS.get(model, ()):
            require(f"model {model!r}", module)


def _made(name: str, made: dict[str, Backend]) -> Backend:
    require_shipped([name])
    if name not in made:
        make = cast("Callable[..., Backend]", load(f"model {name!r}", BACKENDS[name]))
        if name in TIERED:
            made[name] = make(name, **{tier: _made(tier, made) for tier in ("static", "encoder")})
        else:
            made[name] = make()
    return made[name]

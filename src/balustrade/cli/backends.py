"""Who answers the calls of guards that run on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from balustrade.backends import shipped
from balustrade.backends.route import Backend, Route
from balustrade.core.errors import PolicyError
from balustrade.core.guard import Guard
from balustrade.core.registry import require

MODELS = "BALUSTRADE_MODELS"
"""Environment variable with models that servers answer for: `NAME=URL NAME=URL ...`."""
KEY = "BALUSTRADE_API_KEY"
"""Environment variable with the key that is sent to them."""


def route(models: Sequence[str] = ()) -> Route:
    """Return a send for the shipped models and those that servers answer for.

    Each is loaded, or first asked, when a guard needs it.

    Args:
        models: `NAME=URL` each, beside those of the environment; URL as OpenAI's client takes it.

    Raises:
        PolicyError: One is not of that form.
    """
    makers = shipped.makers()
    for model in (*os.environ.get(MODELS, "").split(), *models):
        name, _, url = model.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise PolicyError(f"model {model!r}: expected NAME=URL, such as judge=http://host/v1")
        makers[name] = _server(url)
    return Route(makers)


def require_models(guards: Iterable[Guard]) -> None:
    """Raise MissingExtraError if a guard's shipped model, or one of the hub, cannot run here."""
    models = {model for guard in guards for model in _models(guard)}
    shipped.require_shipped(models)
    for model in sorted(model for model in models if model.startswith("hub:")):
        require(f"model {model!r}", "torch")
        require(f"model {model!r}", "transformers")


def _models(guard: object) -> Iterator[str]:
    """Yield the models of a guard, and of the guards inside it."""
    for model in (getattr(guard, field, None) for field in ("model", "confirm")):
        if model and isinstance(model, str):
            yield model
    inner = guard if isinstance(guard, tuple) else ()
    if isinstance(guard, msgspec.Struct):
        inner = tuple(getattr(guard, field) for field in guard.__struct_fields__)
    for each in inner:
        if isinstance(each, tuple | msgspec.Struct):
            yield from _models(each)


def _server(url: str) -> Callable[[], Backend]:
    def made() -> Backend:
        from balustrade.backends.openai import OpenAI, Server

        return OpenAI(Server(url, key_env=KEY if os.environ.get(KEY) else ""))

    return made

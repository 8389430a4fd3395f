"""Make guards from what a policy file says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from balustrade.core.errors import PolicyError
from balustrade.core.guard import Guard
from balustrade.core.registry import resolve
from balustrade.guards import GUARDS


def build(options: Mapping[str, Any]) -> Guard:
    """Make a guard from its `use` and its fields; guards inside guards are made alike.

    Raises:
        UnknownNameError: `use` names no guard.
        MissingExtraError: The guard needs an extra that is not installed.
        PolicyError: The object named is no guard, or refuses its fields' values.
        msgspec.ValidationError: A field is unknown or of the wrong type; the message has its path.
    """
    fields = dict(options)
    use = fields.pop("use", None)
    if not isinstance(use, str) or not use:
        raise PolicyError("a guard needs 'use', the name of its kind")
    made = resolve("guard", use, GUARDS)
    guard = _make(cast("Callable[..., object]", made), fields)
    if not isinstance(guard, Guard):
        raise PolicyError(
            f"guard {use!r} is no guard: expected 'name', 'judges', 'latency' and 'check'"
        )
    return guard


def _make(maker: Callable[..., object], fields: dict[str, Any]) -> object:
    if isinstance(maker, type) and issubclass(maker, msgspec.Struct):
        return msgspec.convert(fields, maker, dec_hook=_nested)
    try:
        return maker(**fields)
    except TypeError as error:
        raise PolicyError(str(error)) from error


def _nested(wanted: type, value: object) -> object:
    if wanted is Guard and isinstance(value, Mapping):
        return build(value)
    raise NotImplementedError(f"cannot read a {wanted.__name__}")

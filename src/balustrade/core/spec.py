"""What a policy file may write: frozen structs that refuse unknown keys and hash by value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """The base of everything that is configured: its fields are its whole configuration."""


Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1)]

"""Canonical bytes and SHA-256 of any struct: equal meaning, equal digest, on every machine."""

from __future__ import annotations

from hashlib import sha256

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(value: object) -> bytes:
    """Return the canonical JSON of a struct or a plain value: sorted keys, no white space."""
    return _encoder.encode(value)


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical bytes, in lower-case hexadecimal."""
    return sha256(canonical(value)).hexdigest()

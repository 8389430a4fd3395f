"""Our own small trained weights, each with its digest, description, manifest and card."""

from __future__ import annotations

from balustrade.shipped.describe import (
    HERE,
    SHIPPED,
    Confirmed,
    Description,
    Gate,
    Head,
    Stop,
    checked,
    describe,
    described,
    fingerprint,
    forget,
    weights,
    weights_at,
)

__all__ = [
    "HERE",
    "SHIPPED",
    "Confirmed",
    "Description",
    "Gate",
    "Head",
    "Stop",
    "checked",
    "describe",
    "described",
    "fingerprint",
    "forget",
    "weights",
    "weights_at",
]

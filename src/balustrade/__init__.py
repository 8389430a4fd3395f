"""Guardrails for models: many small guards under one rail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balustrade.core.content import Content, Role
    from balustrade.core.decision import Action, Decision
    from balustrade.core.guard import Guard, Monitor
    from balustrade.core.verdict import Finding, Span, Verdict
    from balustrade.policy.model import Policy, Rule
    from balustrade.rails.rail import Rail

__version__ = "0.1.0"

__all__ = [
    "Action",
    "Content",
    "Decision",
    "Finding",
    "Guard",
    "Monitor",
    "Policy",
    "Rail",
    "Role",
    "Rule",
    "Span",
    "Verdict",
]

_HOME = {
    "Action": "core.decision",
    "Content": "core.content",
    "Decision": "core.decision",
    "Finding": "core.verdict",
    "Guard": "core.guard",
    "Monitor": "core.guard",
    "Policy": "policy.model",
    "Rail": "rails.rail",
    "Role": "core.content",
    "Rule": "policy.model",
    "Span": "core.verdict",
    "Verdict": "core.verdict",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that the package itself is light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

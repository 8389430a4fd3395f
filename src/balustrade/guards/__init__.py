"""What judges: one guard a file; this table is how policies name them."""

from __future__ import annotations

GUARDS = {
    "beaver": "balustrade.guards.beaver:Beaver",
    "cascade": "balustrade.guards.cascade:Cascade",
    "classifier": "balustrade.guards.classifier:Classifier",
    "judge": "balustrade.guards.judge:Judge",
    "keywords": "balustrade.guards.keywords:Keywords",
    "patterns": "balustrade.guards.patterns:Patterns",
    "scm": "balustrade.guards.scm:Scm",
}

__all__ = ["GUARDS"]

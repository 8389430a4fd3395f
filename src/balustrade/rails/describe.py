"""What is in force at each stage, as plain values for a wire or a terminal."""

from __future__ import annotations

from typing import Any

from balustrade.core.content import Stage
from balustrade.rails.build import Rails


def stages(rails: Rails) -> dict[str, Any]:
    """Return guards and rules, with resolved thresholds, of each stage that has any."""
    return {
        stage.value: {
            "guards": [
                {"name": guard.name, "latency": guard.latency.name.lower()} for guard in rail.guards
            ],
            "rules": [
                {
                    "name": rule.name,
                    "category": rule.category,
                    "threshold": rule.limit,
                    "action": rule.action,
                }
                for rule in rail.policy.rules
            ],
        }
        for stage in Stage
        if (rail := rails.at(stage)).guards or rail.policy.rules
    }

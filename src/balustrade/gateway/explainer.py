"""Explain decisions for those who ask, a few at a time and within the time a rail may take."""

from __future__ import annotations

import asyncio

from balustrade.core.content import Content
from balustrade.core.decision import Decision
from balustrade.flow.run import AsyncSend, arun
from balustrade.guards.neighbours import Known
from balustrade.rails.explanation import Explanation, explanation
from balustrade.rails.rail import Rail

AT_ONCE = 2
"""Explanations that are made at once; each asks a model as much as a hundred requests do."""


class Explainer:
    """Makes explanations; what it cannot make in time says so, and the decision stays.

    Args:
        known: Examples to name the nearest of.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __call__(
        self, rail: Rail, content: Content, decision: Decision, send: AsyncSend
    ) -> Explanation | None:
        """Explain a decision within the `timeout` of its rail, waiting included."""
        seconds = rail.policy.timeout
        try:
            async with asyncio.timeout(seconds), self._places:
                return await arun(explanation(rail, content, decision, self._known), send)
        except TimeoutError:
            return Explanation("", "", 0.0, error=f"took longer than {seconds:g} s")
        except Exception as error:  # noqa: BLE001 - what explains must not reach what decides
            return Explanation("", "", 0.0, error=f"raised {type(error).__name__}")

"""Any classifier without a format of its own: its labels are read by what they say.

So are the categories of OpenAI's moderation form, as compatible servers answer with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from balustrade.core.content import Role
from balustrade.core.labels import WORDS, meanings
from balustrade.core.taxonomy import HARM, HAZARDS
from balustrade.guards.formats.form import Exchange


class ByLabel(Struct, frozen=True):
    """Labels by their meaning."""

    @property
    def reports(self) -> frozenset[str]:
        """Whatever a label may mean."""
        return frozenset({HARM, *(hazard.name for hazard in HAZARDS), *WORDS}) - {""}

    @property
    def pairs(self) -> bool:
        """A response is given as the second of a pair, after its request."""
        return True

    @property
    def apart(self) -> bool:
        """As the model's files say."""
        return False

    def text(self, exchange: Exchange) -> str:
        """Return the response, or the request where there is none."""
        return exchange.request if exchange.response is None else exchange.response

    def findings(
        self,
        role: Role,  # noqa: ARG002 - a label means the same whoever speaks
        labels: Sequence[str],
        scores: Sequence[float],
    ) -> dict[str, float]:
        """Return the highest score of each name."""
        found: dict[str, float] = {}
        for name, score in zip(meanings(labels), scores, strict=True):
            if name:
                found[name] = max(found.get(name, 0.0), score)
        return found


BY_LABEL = ByLabel()

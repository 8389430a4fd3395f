"""DuoGuard: twelve harms scored apart, each by a sigmoid.

Sources: yihedeng9/DuoGuard, `evaluation/test_single_input.py` (the labels in their order, the
sigmoid, a text is unsafe if any exceeds 0.5) and `evaluation/evaluate_duoguard.py` (a response is
given after its request and one blank, as one text). Paper: arXiv 2502.05163.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from balustrade.core.content import Role
from balustrade.core.errors import BackendError
from balustrade.core.taxonomy import HARM, INJECTION, RESPONSE_HARM
from balustrade.guards.formats.form import Exchange

NAMES = (
    "violent-crimes",
    "non-violent-crimes",
    "sex-crimes",
    "child-exploitation",
    "specialised-advice",
    "privacy",
    "intellectual-property",
    "weapons",
    "hate",
    "self-harm",
    "sexual-content",
    INJECTION,
)
"""Our names for its labels, in its order; its own files call them LABEL_0 to LABEL_11."""


class DuoGuard(Struct, frozen=True):
    """The one format of DuoGuard."""

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its labels stand for."""
        return frozenset({HARM, RESPONSE_HARM, *NAMES})

    @property
    def pairs(self) -> bool:
        """Request and response are one text."""
        return False

    @property
    def apart(self) -> bool:
        """Each label has its sigmoid."""
        return True

    def text(self, exchange: Exchange) -> str:
        """Return the request, a blank, and the response."""
        if exchange.response is None:
            return exchange.request
        return f"{exchange.request} {exchange.response}".strip()

    def findings(
        self, role: Role, labels: Sequence[str], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return each harm, and as harm in general the highest of them."""
        if len(scores) != len(NAMES):
            raise BackendError(f"expected {len(NAMES)} labels, found {list(labels)}")
        found = dict(zip(NAMES, scores, strict=True))
        return found | {RESPONSE_HARM if role is Role.ASSISTANT else HARM: max(scores)}


DUOGUARD = DuoGuard()

"""Prompt Guard 1 and 2: is this text an attack on the model that reads it?

Sources: PurpleLlama, `Prompt-Guard/MODEL_CARD.md` (benign, injection, jailbreak: what users say is
judged by jailbreak alone, third-party text by either) and `Llama-Prompt-Guard-2/86M/MODEL_CARD.md`
(benign, malicious). The text is given as it is, in windows: both read 512 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from balustrade.core.content import Role
from balustrade.core.errors import BackendError
from balustrade.core.taxonomy import INJECTION
from balustrade.guards.formats.form import Exchange

SAID = (Role.USER, Role.ASSISTANT, Role.SYSTEM)
"""Who may give a model instructions, so that only a jailbreak is an attack."""


class PromptGuard(Struct, frozen=True):
    """One generation of Prompt Guard."""

    columns: int
    """How many labels it has: benign first, jailbreak or malicious last."""

    @property
    def reports(self) -> frozenset[str]:
        """Injections, jailbreaks among them."""
        return frozenset({INJECTION})

    @property
    def pairs(self) -> bool:
        """A text stands alone."""
        return False

    @property
    def apart(self) -> bool:
        """One label excludes the others."""
        return False

    def text(self, exchange: Exchange) -> str:
        """Return the last message alone."""
        return exchange.request if exchange.response is None else exchange.response

    def findings(
        self, role: Role, labels: Sequence[str], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return the probability of an attack."""
        if len(scores) != self.columns:
            raise BackendError(f"expected {self.columns} labels, found {list(labels)}")
        attack = scores[-1] if role in SAID else sum(scores[1:])
        return {INJECTION: min(attack, 1.0)}


PROMPT_GUARD_1 = PromptGuard(3)
PROMPT_GUARD_2 = PromptGuard(2)

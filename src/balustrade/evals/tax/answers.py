"""What systems answered and what became of it: the records that every figure stands on."""

from __future__ import annotations

from msgspec import Struct

from balustrade.evals.tax.opinion import Opinion
from balustrade.rails.prime.notes import Route


class Answer(Struct, frozen=True, omit_defaults=True):
    """One system's answer to one row."""

    id: str
    system: str
    response: str = ""
    calls: int = 0
    """How often a model was asked, the judge apart."""
    seconds: float = 0.0
    route: Route | None = None
    is_named: bool = True
    is_degraded: bool = False
    trouble: str = ""
    error: str = ""
    """Why there is no answer; then nothing else is known."""
    opinion: Opinion | None = None
    """What the judge said; None until it is asked, and where there is no answer."""

    @property
    def judged(self) -> Opinion | None:
        """The opinion, if there is one that may be counted on."""
        return self.opinion if self.opinion is not None and not self.opinion.error else None

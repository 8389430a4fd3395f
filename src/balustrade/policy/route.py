"""`[stage.route]`: the designer's guidelines, and how a request is routed by them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from balustrade.core.digest import digest
from balustrade.core.spec import Count, Positive, Probability, Spec

RouteName = Literal["no_to_minimal_risk", "potential_violation", "direct_violation"]
Sentence = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Precedent(Spec, frozen=True):
    """A request, the route it is to take, and why: shown to the guard for requests like it."""

    request: Sentence
    route: RouteName
    check: Sentence
    tip: str = ""


class RouteSpec(Spec, frozen=True):
    """Guidelines, who judges by them, and from which probability on a route is taken.

    PrimeGuard (arXiv 2407.16318): a guard model reads the restrictive guidelines and the request
    and names a route; the main model then answers freely, carefully, or is not asked at all.
    """

    restrictive: tuple[Sentence, ...]
    """What the assistant must not do; read by the guard, and by the main model where it is to be
    careful."""

    directive: tuple[Sentence, ...] = ()
    """What the assistant should do; always said to the main model."""

    guard: str = ""
    """The model that routes; the one that is asked for if empty."""

    precedents: tuple[Precedent, ...] = ()
    shown: Annotated[int, Meta(ge=0, le=20)] = 4
    """How many precedents, those most like the request, the guard is shown."""

    minimal: Probability = 0.5
    """The probability of no risk from which the main model answers freely."""

    direct: Probability = 0.5
    """The probability of a direct violation from which a request is refused. Where neither is
    reached the careful route is taken; where the server gives no log-probabilities the route is
    the one that the guard names."""

    turns: Count = 6
    """How many of the last messages the guard reads."""

    remind: bool = True
    """Whether the main model is told in one line that guidelines exist where it answers freely."""

    reads: Annotated[int, Meta(ge=500, le=100_000)] = 8_000
    """Characters of a message that the guard reads; of a longer one its beginning and its end."""

    timeout: Positive = 20.0
    """Seconds the guard may take; then the careful route is taken."""

    remembers: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """Requests whose route is remembered."""

    def __post_init__(self) -> None:
        if not self.restrictive:
            raise ValueError("expected at least one restrictive guideline, found none")
        for name, least in (("minimal", self.minimal), ("direct", self.direct)):
            if least == 0:
                raise ValueError(f"expected {name} > 0, or no request takes the careful route")

    @property
    def revision(self) -> str:
        """Digest of the guidelines and of how they are applied."""
        return digest(self)[:16]

"""`[stage.route]`: what is refused of it."""

from __future__ import annotations

import msgspec
import pytest

from balustrade.policy.route import RouteSpec


@pytest.mark.parametrize("name", ["minimal", "direct"])
@pytest.mark.parametrize("other", [0.3, 1.0])
def test_a_bar_that_every_request_takes_is_refused(name: str, other: float) -> None:
    bars = {"minimal": other, "direct": other, name: 0.0}
    fields = {"restrictive": ["Do no harm."], **bars}
    with pytest.raises(msgspec.ValidationError, match=f"expected {name} > 0, or no request"):
        msgspec.convert(fields, RouteSpec)
    assert msgspec.convert({**fields, name: 0.01}, RouteSpec).timeout > 0


def test_a_route_without_guidelines_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one restrictive guideline"):
        RouteSpec(())

"""Who answers the calls of guards that run on the command line."""

from __future__ import annotations

from balustrade.backends.route import Backend, Route
from balustrade.core.registry import require


def route() -> Route:
    """Return a send for the shipped models; each is loaded when it is first asked."""
    return Route({"static": _static})


def _static() -> Backend:
    require("model 'static'", "numpy")
    from balustrade.backends.static import Static

    return Static()

"""What is known about a decision besides the decision itself."""

from __future__ import annotations

from msgspec import Struct


class Facts(Struct, frozen=True):
    """When, for whom and on whose behalf something was judged; never what was judged."""

    id: str
    """The decision's ID, as the response names it."""

    at: int = 0
    """When it was decided, in microseconds since 1970, UTC."""

    micros: int = 0
    """How long judging took, in microseconds."""

    request: str = ""
    """The request's ID; the decisions of one request share it."""

    route: str = ""
    model: str = ""
    """The upstream model the content goes to or comes from."""

    key: str = ""
    """The name of the caller's key, never the key."""

    tenant: str = ""
    degraded: bool = False
    """Whether some guard was left out or given up on, whatever its verdict says."""

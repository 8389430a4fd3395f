"""Leave an upstream alone that keeps failing; try now and then whether it is back."""

from __future__ import annotations

import time
from typing import Literal

from balustrade.gateway.settings import Breaker as BreakerSpec


class Breaker:
    """Closed while calls succeed; open after enough failures in a row; then one call may try."""

    def __init__(self, spec: BreakerSpec) -> None:
        self._spec = spec
        self._failures = 0
        self._opened = 0.0
        self._is_trying = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """What calls meet now."""
        if self._failures < self._spec.failures:
            return "closed"
        return "half-open" if self.wait() <= 0 else "open"

    def wait(self) -> float:
        """Return the seconds until a call may try."""
        return max(0.0, self._opened + self._spec.rest - time.monotonic())

    def admits(self) -> bool:
        """Whether a call may go through; what it admits must be followed by an outcome."""
        if self._failures < self._spec.failures:
            return True
        if self._is_trying or self.wait() > 0:
            return False
        self._is_trying = True
        return True

    def succeeded(self) -> None:
        """Note that the upstream answered."""
        self._failures = 0
        self._is_trying = False

    def failed(self) -> None:
        """Note that it did not."""
        self._failures += 1
        self._is_trying = False
        if self._failures >= self._spec.failures:
            self._opened = time.monotonic()

    def dropped(self) -> None:
        """Note that the call was given up before anything was learnt."""
        self._is_trying = False

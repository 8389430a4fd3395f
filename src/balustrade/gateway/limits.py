"""Requests and tokens a minute, per key: budgets that refill steadily."""

from __future__ import annotations

import time
from math import ceil

from balustrade.gateway.auth import Key
from balustrade.gateway.http import HttpError
from balustrade.gateway.metrics import Metrics

_MINUTE = 60.0


class Bucket:
    """An allowance per minute that refills steadily, and may be overdrawn once."""

    __slots__ = ("_at", "_left", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self._left = float(size)
        self._at = now

    def left(self, now: float) -> float:
        """Return what is left."""
        gained = (now - self._at) * self.size / _MINUTE
        self._left = min(float(self.size), self._left + gained)
        self._at = now
        return self._left

    def take(self, amount: float, now: float) -> None:
        """Take, whether or not it is there."""
        self._left = self.left(now) - amount

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until so much is there."""
        return max(0.0, (min(amount, self.size) - self.left(now)) * _MINUTE / self.size)


class Budgets:
    """What each key has left; of one process, so several workers count apart."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def admit(self, key: Key) -> None:
        """Count a request.

        Raises:
            HttpError: 429, the key has spent its requests or tokens of this minute.
        """
        now = time.monotonic()
        if key.tokens_per_minute is not None:
            bucket = self._bucket(key, "tokens", key.tokens_per_minute, now)
            # What a request will cost is known only afterwards, so it may overdraw once.
            if bucket.left(now) <= 0:
                self._refuse(key, "tokens", bucket.size, bucket.wait(1, now))
        if key.requests_per_minute is not None:
            bucket = self._bucket(key, "requests", key.requests_per_minute, now)
            if bucket.left(now) < 1:
                self._refuse(key, "requests", bucket.size, bucket.wait(1, now))
            bucket.take(1, now)

    def spend(self, key: Key | None, tokens: int) -> None:
        """Count tokens that a model reported."""
        if key is not None and key.tokens_per_minute is not None:
            now = time.monotonic()
            self._bucket(key, "tokens", key.tokens_per_minute, now).take(tokens, now)

    def _bucket(self, key: Key, kind: str, size: int, now: float) -> Bucket:
        bucket = self._buckets.get((key.name, kind))
        if bucket is None or bucket.size != size:
            bucket = self._buckets[key.name, kind] = Bucket(size, now)
        return bucket

    def _refuse(self, key: Key, kind: str, size: int, wait: float) -> None:
        self._metrics.limited.add((key.name, kind))
        raise HttpError(
            429,
            f"key {key.name!r} may use {size} {kind} a minute; try again in {ceil(wait)} s",
            "rate_limit_error",
            "rate_limit_exceeded",
            headers=((b"retry-after", b"%d" % max(1, ceil(wait))),),
        )

"""Vaults of conversations that an upstream keeps: found by the response they went with."""

from __future__ import annotations

import time
from collections import OrderedDict

from balustrade.policy.vault import Vault

SECONDS = 3600.0
SIZE = 10_000


class Vaults:
    """What was masked in conversations that go on, each for a while, in this process alone.

    A vault is found only by who made it: the owner is part of its name.

    Args:
        seconds: How long one is kept after its last use.
        size: How many are kept; those unused longest go first.
    """

    def __init__(self, seconds: float = SECONDS, size: int = SIZE) -> None:
        self._seconds = seconds
        self._size = size
        self._kept: OrderedDict[tuple[str, str], tuple[float, Vault]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, owner: str, response: str) -> Vault | None:
        """Return the vault of a conversation up to a response."""
        self._forget()
        found = self._kept.get((owner, response))
        return found[1] if found else None

    def keep(self, owner: str, response: str, vault: Vault) -> None:
        """Keep a vault under a response, so that the conversation can go on from it."""
        self._forget()
        if len(vault):
            self._kept[owner, response] = (time.monotonic() + self._seconds, vault)
            self._kept.move_to_end((owner, response))

    def _forget(self) -> None:
        now = time.monotonic()
        while self._kept:
            name, (until, _) = next(iter(self._kept.items()))
            if until > now and len(self._kept) <= self._size:
                return
            del self._kept[name]

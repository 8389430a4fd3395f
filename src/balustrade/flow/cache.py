"""Remember replies by the digest of their call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec.structs import replace

from balustrade.core.call import Advance, Call, Compute, Failed, Reply, Spoken
from balustrade.core.digest import digest
from balustrade.flow.run import AsyncSend


class Cache:
    """A send that answers a call it has seen from memory; the least recently used go first.

    Failures and computations are never remembered. What comes from memory costs neither time nor
    tokens, and says so.
    """

    def __init__(self, send: AsyncSend, size: int = 10_000) -> None:
        self._send = send
        self._size = size
        self._known: OrderedDict[str, Reply] = OrderedDict()
        self.hits = 0
        self.misses = 0

    async def __call__(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer what is known from memory and the rest with one round of the inner send."""
        keys = ["" if isinstance(call, Compute | Advance) else digest(call) for call in calls]
        replies: list[Reply | None] = [self._recall(key) for key in keys]
        missing = [slot for slot, reply in enumerate(replies) if reply is None]
        if missing:
            fresh = await self._send(tuple(calls[slot] for slot in missing))
            for slot, reply in zip(missing, fresh, strict=True):
                replies[slot] = reply
                self._remember(keys[slot], reply)
        return [reply for reply in replies if reply is not None]

    def _recall(self, key: str) -> Reply | None:
        reply = self._known.get(key) if key else None
        if reply is None:
            self.misses += 1
            return None
        self.hits += 1
        self._known.move_to_end(key)
        return reply

    def _remember(self, key: str, reply: Reply) -> None:
        if not key or isinstance(reply, Failed):
            return
        if isinstance(reply, Spoken):
            reply = replace(reply, seconds=0.0, prompt_tokens=0, completion_tokens=0)
        self._known[key] = reply
        if len(self._known) > self._size:
            self._known.popitem(last=False)

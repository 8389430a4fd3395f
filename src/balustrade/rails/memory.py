"""Remember what guards said of a message, so that a long conversation is not judged anew."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from balustrade.core.content import Content, Role
from balustrade.core.verdict import Verdict

_encode = msgspec.msgpack.Encoder().encode

LARGEST = 64
"""Findings of one message above which its verdicts are not kept."""


class Known(NamedTuple):
    """What is remembered of a message."""

    passes: bool
    """Whether it went on as it came."""

    verdicts: tuple[tuple[Verdict, ...], ...]
    """Those of each of its turns, in order."""


class Memory:
    """Verdicts by digest of what they judge; the least recently used go first.

    A key covers the message itself and the request it answers, and nothing of who asked: what is
    found under it is what the guards would say again. Holds digests and findings, no text.

    Args:
        size: How many messages to remember.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._passed: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, key: bytes) -> Known | None:
        """Return what is known of a message that was judged before."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def has_passed(self, conversation: bytes) -> bool:
        """Whether a whole conversation went on as it came; asked before its messages are."""
        if conversation not in self._passed:
            return False
        self._passed.move_to_end(conversation)
        return True

    def passed(self, conversation: bytes) -> None:
        """Keep that a conversation went on as it came."""
        self._passed[conversation] = None
        if len(self._passed) > self._size:
            self._passed.popitem(last=False)

    def remember(self, key: bytes, known: Known) -> None:
        """Keep the verdicts, unless a guard failed or found more than is worth keeping."""
        found = 0
        for verdicts in known.verdicts:
            for verdict in verdicts:
                if verdict.error:
                    return
                found += len(verdict.findings)
        if found > LARGEST:
            return
        self._known[key] = known
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def keys(messages: Sequence[Content]) -> list[bytes]:
    """Return the key of each message of a conversation.

    A user's message stands for itself; what follows it is keyed with it, because guards of
    answers look at the request.
    """
    made: list[bytes] = []
    request = b""
    for message in messages:
        if message.role is Role.USER:
            request = _digest(message, b"")
            made.append(request)
        else:
            made.append(_digest(message, request))
    return made


def whole(messages: Sequence[Content]) -> bytes:
    """Return the key of a conversation; many messages cost little more than one."""
    return blake2b(_encode(messages), digest_size=16).digest()


def _digest(message: Content, request: bytes) -> bytes:
    return blake2b(_encode(message), digest_size=16, key=request).digest()

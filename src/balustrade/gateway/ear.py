"""Overhear what models say of each word of an answer, while guards ask them to judge it."""

from __future__ import annotations

from collections.abc import Sequence

from balustrade.core.call import Advance, Advanced, Call, Heard, Onward, Reply
from balustrade.flow.run import AsyncSend


class Ear:
    """Pass calls on to `send` and replies back as they are, and note the words in between.

    So a score that is shown is the one that decided, and costs nothing to have. Where two models
    read the same word, the higher score is noted. Only calls about a single text are listened to:
    of several, nobody here could tell which is which.

    Args:
        send: What answers.
    """

    def __init__(self, send: AsyncSend) -> None:
        self._send = send
        self._words: dict[int, Heard] = {}
        self._open: dict[int, Heard] = {}

    async def __call__(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer each call, in order."""
        replies = await self._send(calls)
        for call, reply in zip(calls, replies, strict=False):
            if isinstance(call, Advance) and isinstance(reply, Onward) and len(reply.texts) == 1:
                self._note(reply.texts[0], ends=call.ends)
        return replies

    def take(self, *, is_end: bool) -> list[Heard]:
        """Return the words that were read since the last time, in order.

        Args:
            is_end: Whether the text has ended, so that what was open when a model last looked
                stays as it is.
        """
        found = {**self._open, **self._words} if is_end else self._words
        self._words, self._open = {}, {}
        return [found[start] for start in sorted(found)]

    def _note(self, read: Advanced, *, ends: bool) -> None:
        words = self._open if ends else self._words
        for word in read.words:
            known = words.get(word.start)
            if known is None or word.score > known.score:
                words[word.start] = word

"""Drive one judged stream: chunks in, pieces that may leave out, sync and async alike."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from balustrade.core.call import Send
from balustrade.core.content import Content
from balustrade.flow.run import AsyncSend, arun, run
from balustrade.policy.vault import Vault
from balustrade.rails.progress import Piece
from balustrade.rails.stream import Stream


def release(
    stream: Stream, content: Content, chunks: Iterable[str], send: Send, vault: Vault | None = None
) -> Iterator[Piece]:
    """Yield what may leave of the answer to `content`; the last piece carries the decision.

    No chunk is asked for after the one that cuts the stream.
    """
    state = stream.start(content)
    for chunk in chunks:
        [(state, piece)] = run(stream.step([state], [chunk], [vault]), send)
        if piece.text or piece.cut:
            yield piece
        if piece.cut:
            return
    [(_, piece)] = run(stream.finish([state], [vault]), send)
    yield piece


async def arelease(
    stream: Stream,
    content: Content,
    chunks: AsyncIterable[str],
    send: AsyncSend,
    vault: Vault | None = None,
) -> AsyncIterator[Piece]:
    """Yield what may leave of the answer to `content`; else exactly as `release`."""
    state = stream.start(content)
    async for chunk in chunks:
        [(state, piece)] = await arun(stream.step([state], [chunk], [vault]), send)
        if piece.text or piece.cut:
            yield piece
        if piece.cut:
            return
    [(_, piece)] = await arun(stream.finish([state], [vault]), send)
    yield piece

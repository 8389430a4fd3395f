"""Whole answers told as a stream: what had to be complete before any of it could leave."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from balustrade.gateway.sse import DONE, event
from balustrade.gateway.wire import Tree, encode

_any = msgspec.json.Decoder()
_AFTER_BLANK = re.compile(r"(?<=\s)")


async def streamed(data: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a whole answer as an upstream would have streamed it, a word at a time."""
    tree: Tree = _any.decode(data)
    head = _head(tree)
    for choice in tree["choices"]:
        message: dict[str, Any] = choice["message"]
        index = choice.get("index", 0)
        first: dict[str, Any] = {"role": "assistant", "content": ""}
        if message.get("tool_calls"):
            calls = [{"index": n, **call} for n, call in enumerate(message["tool_calls"])]
            first["tool_calls"] = calls
        yield _chunk(head, index, first)
        for word in filter(None, _AFTER_BLANK.split(message.get("content") or "")):
            yield _chunk(head, index, {"content": word})
        yield _chunk(head, index, {}, choice.get("finish_reason") or "stop")
    if tree.get("usage"):
        yield event(encode({**head, "choices": [], "usage": tree["usage"]}))
    yield DONE


async def responded(data: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a whole response as an upstream would have streamed it, its words one at a time.

    Other texts than words that are said, and calls, come whole with their items.
    """
    whole: Tree = _any.decode(data)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield _told("response.created", response=begun)
    for number, item in enumerate(whole["output"]):
        place = {"output_index": number, "item_id": item.get("id", "")}
        parts = item.get("content") or [] if item.get("type") == "message" else []
        empty = {**item, "status": "in_progress", **({"content": []} if parts else {})}
        yield _told("response.output_item.added", output_index=number, item=empty)
        for slot, part in enumerate(parts):
            here = {**place, "content_index": slot}
            kind = str(part.get("type")) if isinstance(part, dict) else ""
            field = _SAID.get(kind)
            if field is None:
                continue
            yield _told("response.content_part.added", **here, part={**part, field: ""})
            for word in filter(None, _AFTER_BLANK.split(part.get(field) or "")):
                yield _told(f"response.{kind}.delta", **here, delta=word)
            yield _told(f"response.{kind}.done", **here, **{field: part.get(field) or ""})
            yield _told("response.content_part.done", **here, part=part)
        yield _told("response.output_item.done", output_index=number, item=item)
    ends = {"incomplete": "response.incomplete", "failed": "response.failed"}
    yield _told(ends.get(whole.get("status", ""), "response.completed"), response=whole)


_SAID = {"output_text": "text", "refusal": "refusal"}
"""Kinds of parts that are words, and where these stand."""


def _told(kind: str, **more: object) -> bytes:
    return event(encode({"type": kind, **more}))


async def refused(whole: Tree) -> AsyncIterator[bytes]:
    """Yield a refusal the way a model would have said it."""
    head, extension = _head(whole), {"balustrade": whole["balustrade"]}
    chunks: list[bytes] = []
    for choice in whole["choices"]:
        index = choice["index"]
        chunks.append(_chunk(head, index, choice["message"]))
        chunks.append(_chunk(head, index, {}, "content_filter", **extension))
    yield b"".join((*chunks, DONE))


def _chunk(
    head: Tree,
    index: int,
    delta: dict[str, Any],
    finish_reason: str | None = None,
    **more: object,
) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return event(encode({**head, "choices": [choice], **more}))


def _head(whole: Tree) -> Tree:
    """Return what every chunk of an answer begins with."""
    head = {name: whole.get(name) for name in ("id", "created", "model")}
    return {**head, "object": "chat.completion.chunk"}

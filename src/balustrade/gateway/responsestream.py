"""Streamed responses: every word judged before it leaves, every call judged whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from balustrade.core.content import Content, Role, Text, ToolCall, words
from balustrade.core.decision import Decision
from balustrade.core.errors import BackendError
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.growing import Growing, Released
from balustrade.gateway.items import call_field, call_of, is_call, leaves
from balustrade.gateway.relay import Relay
from balustrade.gateway.sse import event
from balustrade.gateway.wire import Tree, encode, put

T = TypeVar("T")
Key: TypeAlias = tuple[str | int, ...]
"""Where a text stands in the response's `output`."""

_any = msgspec.json.Decoder()
_WORDS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
}
_PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
_CALLS = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
    "mcp_call": "response.mcp_call_arguments",
}
_ENDS = {"response.completed", "response.incomplete", "response.failed"}
_BEGINS = {"response.created", "response.in_progress", "response.queued"}
_BARE = {"type", "item_id", "output_index", "sequence_number", "content_index", "summary_index"}


class ResponseStream(Relay):
    """Judge one streamed response.

    Words leave as soon as they are judged; a call is sent whole once it is judged. What upstream
    repeats at the end of a part, an item or the response is written anew from what left. A stream
    that is stopped ends with `response.incomplete`, for the reason `content_filter`. Events that
    carry text in a form we do not know are left out.

    Args:
        exchange: The request's; its earlier decisions are on record.
        seen: The conversation as the model saw it.
        keep: Told the response's ID, so that the conversation can go on from it.
    """

    def __init__(
        self, exchange: Exchange, seen: Sequence[Content], keep: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._exchange = exchange
        self._seen = seen
        self._keep = keep
        self._texts: Growing[Key] = Growing(exchange, seen)
        self._left: dict[Key, str] = {}
        self._calls: dict[int, str] = {}
        self._held: dict[int, Tree] = {}
        self._response: Tree = {}
        self._number = 0

    async def _settle(self) -> None:
        await self._texts.finish(self._texts.open)
        await self._exchange.record()

    async def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            return
        tree = _read(data)
        kind = str(tree.get("type", ""))
        stem, _, last = kind.rpartition(".")
        if kind in _BEGINS:
            self._begin(tree)
        elif kind in _ENDS:
            await self._end(kind, tree)
        elif stem in _WORDS:
            await self._take_words(stem, last, tree)
        elif stem == "response.output_item":
            await self._take_item(last, tree)
        else:
            self._take_other(kind, stem, tree)

    def _take_other(self, kind: str, stem: str, tree: Tree) -> None:
        if stem in _PARTS:
            self._take_part(stem, tree)
        elif kind == "error" or "error" in tree:
            raise BackendError("upstream broke off its answer with an error")
        elif stem not in _CALLS.values() and tree.keys() <= _BARE:
            self._send(tree)

    def _begin(self, tree: Tree) -> None:
        response = _expect(tree, "response", dict)
        response["output"] = []
        self._response = response
        self._send(tree)

    async def _take_words(self, stem: str, last: str, tree: Tree) -> None:
        field, index, name = _WORDS[stem]
        key = (_expect(tree, "output_index", int), field, _expect(tree, index, int), name)
        if last == "delta":
            released = (await self._texts.feed({key: _expect(tree, "delta", str)})).get(key)
        else:
            released = await self._finished(key, str(tree.get(name) or ""))
        if released is not None and released.text:
            self._left[key] = self._left.get(key, "") + released.text
            shown = {n: v for n, v in tree.items() if n not in {name, "obfuscation", "logprobs"}}
            self._send({**shown, "type": f"{stem}.delta", "delta": released.text, **_no(stem)})
        if await self._is_stopped(released):
            return
        if last == "done":
            self._send({**tree, name: self._left.get(key, ""), **_no(stem)})

    async def _finished(self, key: Key, text: str) -> Released | None:
        """End a text; one that came without deltas is judged now."""
        if key not in self._texts:
            released = (await self._texts.feed({key: text})).get(key)
            if released is not None:
                if released.decision is not None:
                    return released
                self._left[key] = self._left.get(key, "") + released.text
        return (await self._texts.finish([key])).get(key)

    async def _is_stopped(self, released: Released | None) -> bool:
        if released is None or released.decision is None:
            return False
        if released.decision.action.stops:
            await self._stop(released.decision)
        return self._is_over

    def _take_part(self, stem: str, tree: Tree) -> None:
        field, index = _PARTS[stem]
        key = (_expect(tree, "output_index", int), field, _expect(tree, index, int))
        part = _expect(tree, "part", dict)
        for _, path in list(leaves(part)):
            put(part, path, self._left.get((*key, *path), ""))
        if part.get("logprobs"):
            part["logprobs"] = []
        if part.get("annotations"):
            part["annotations"] = []
        self._send(tree)

    async def _take_item(self, last: str, tree: Tree) -> None:
        number = _expect(tree, "output_index", int)
        item = _expect(tree, "item", dict)
        if last == "added":
            if is_call(item):
                self._held[number] = tree
                return
            for _, path in list(leaves(item)):
                put(item, path, "")
            self._send(tree)
            return
        if not await self._settle_item(number, item):
            return
        if is_call(item):
            self._send_call(number, item)
        self._send(tree)

    def _send_call(self, number: int, item: Tree) -> None:
        """Send what a whole call would have been announced with."""
        field = call_field(item)
        held = self._held.pop(number, None)
        if held is not None:
            held["item"] = {**item, field: "", "status": "in_progress"}
            self._send(held)
        stem = _CALLS[item["type"]]
        base = {"item_id": item.get("id", ""), "output_index": number}
        self._send({"type": f"{stem}.delta", **base, "delta": item[field]})
        self._send({"type": f"{stem}.done", **base, field: item[field]})

    async def _settle_item(self, number: int, item: Tree) -> bool:
        """Write an item from what left; judge what of it was not. False if it may not leave."""
        if is_call(item) and not await self._settle_call(number, item):
            return False
        skip = call_field(item) if is_call(item) else None
        for part, path in list(leaves(item, skip=skip)):
            if isinstance(part, Text):
                if not await self._settle_text((number, *path), part.text):
                    return False
                put(item, path, self._left.get((number, *path), ""))
        for part in item.get("content") or ():
            if isinstance(part, dict) and part.get("logprobs"):
                part["logprobs"] = []
        return True

    async def _settle_text(self, key: Key, text: str) -> bool:
        if key in self._texts and key not in self._texts.open:
            return True
        released = await self._finished(key, text)
        if released is not None:
            self._left[key] = self._left.get(key, "") + released.text
        return not await self._is_stopped(released)

    async def _settle_call(self, number: int, item: Tree) -> bool:
        field = call_field(item)
        if number not in self._calls:
            exchange, call = self._exchange, call_of(item)
            content = Content((call,), Role.ASSISTANT)
            flow = exchange.pipeline.call(self._seen, content, exchange.vault)
            outcome = await exchange.judge(flow)
            decision = outcome.gravest
            if outcome.stops and decision is not None:
                await self._stop(decision)
                return False
            for change in outcome.changes:
                assert isinstance(change.part, ToolCall)
                call = change.part
            await exchange.record()
            self._calls[number] = exchange.vault.unmask(words(call), quoted=True)
        item[field] = self._calls[number]
        return True

    async def _end(self, kind: str, tree: Tree) -> None:
        response = _expect(tree, "response", dict)
        for number, item in enumerate(_expect(response, "output", list)):
            if not await self._settle_item(number, item):
                return
        await self._settle()
        decision = self._exchange.decision
        if decision is not None and decision.action.stops:
            await self._stop(decision)
            return
        self._keep(str(response.get("id", "")))
        response["balustrade"] = self._exchange.extension()
        self._send({**tree, "type": kind})
        self._is_over = True

    async def _stop(self, decision: Decision) -> None:
        """End the response with what of it has left."""
        await self._settle()
        response = {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": self._said(),
            "balustrade": self._exchange.extension(decision),
        }
        self._send({"type": "response.incomplete", "response": response})
        self._is_over = True

    def _said(self) -> list[Tree]:
        texts = [text for key, text in self._left.items() if key[1] == "content"]
        parts = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
        message = {
            "id": f"msg_{self._exchange.decision_id}",
            "type": "message",
            "role": "assistant",
            "status": "incomplete",
            "content": parts,
        }
        return [message]

    def _send(self, tree: Tree) -> None:
        numbered = {**tree, "sequence_number": self._number}
        self._number += 1
        self._out.append(event(encode(numbered), str(tree["type"]).encode()))


def _no(stem: str) -> dict[str, list[Any]]:
    """Return the field that clients expect of this event, empty: it spells words as they were."""
    return {"logprobs": []} if stem == "response.output_text" else {}


def _read(data: bytes) -> Tree:
    try:
        tree = _any.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BackendError("upstream sent an event that is no JSON") from error
    if not isinstance(tree, dict):
        raise BackendError("upstream sent an event that is no object")
    return tree


def _expect(tree: Tree, name: str, kind: type[T]) -> T:
    value = tree.get(name)
    if not isinstance(value, kind):
        raise BackendError(f"upstream sent an event whose {name} is not what it must be")
    return value

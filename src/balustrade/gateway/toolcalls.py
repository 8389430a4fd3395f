"""Tool calls that arrive in pieces, put together so that each can be judged whole."""

from __future__ import annotations

from collections.abc import Iterator

from balustrade.core.content import ToolCall
from balustrade.core.errors import BackendError
from balustrade.gateway.shapes import Delta, DeltaCall
from balustrade.gateway.wire import Tree

LARGEST = 1_000_000
"""Characters of one call's arguments."""

LEGACY = "function_call"


class OpenCalls:
    """The calls of one alternative. A call is complete once another begins, or its answer ends."""

    def __init__(self) -> None:
        self._open: dict[int, Tree] = {}
        self._begun: set[int] = set()

    def __len__(self) -> int:
        return len(self._begun)

    def take(self, delta: Delta) -> Iterator[Tree]:
        """Add what a chunk brings; yield the calls that are complete now."""
        for piece in delta.tool_calls or ():
            yield from self._add(piece)
        if delta.function_call is not None:
            legacy = DeltaCall(index=-1, type=LEGACY, function=delta.function_call)
            yield from self._add(legacy)

    def rest(self) -> list[Tree]:
        """Return the calls that are still open: the answer has ended."""
        left, self._open = list(self._open.values()), {}
        return left

    def _add(self, piece: DeltaCall) -> Iterator[Tree]:
        call: Tree | None = self._open.get(piece.index)
        if call is None:
            if piece.index in self._begun:
                raise BackendError("upstream went on with a tool call after the next had begun")
            yield from self.rest()
            self._begun.add(piece.index)
            kind = piece.type or ("custom" if piece.custom else "function")
            call = {"index": piece.index, "type": kind, "id": "", "name": "", "text": ""}
            self._open[piece.index] = call
        call["id"] = piece.id or call["id"]
        if piece.function is not None:
            call["name"] += piece.function.name or ""
            call["text"] += piece.function.arguments or ""
        if piece.custom is not None:
            call["name"] += piece.custom.name or ""
            call["text"] += piece.custom.input or ""
        if len(call["text"]) > LARGEST:
            raise BackendError(f"upstream sent a tool call of more than {LARGEST} characters")

    @staticmethod
    def part(call: Tree) -> ToolCall:
        """Return a call as rails judge it."""
        return ToolCall(call["name"], call["text"], call["id"])

    @staticmethod
    def delta(call: Tree, text: str) -> Tree:
        """Return the one chunk that brings a whole call."""
        if call["type"] == LEGACY:
            return {LEGACY: {"name": call["name"], "arguments": text}}
        if call["type"] == "custom":
            inner = {"custom": {"name": call["name"], "input": text}}
        else:
            inner = {"function": {"name": call["name"], "arguments": text}}
        whole = {"index": call["index"], "id": call["id"], "type": call["type"], **inner}
        return {"tool_calls": [whole]}

"""The items of OpenAI's Responses: what is said, called and returned, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from balustrade.core.content import Content, Image, Part, Role, Text, ToolCall, words
from balustrade.gateway.convert import Path, image
from balustrade.gateway.wire import Tree, put, unreadable
from balustrade.rails.pipeline import Change

_ROLE = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input", "mcp_call": "arguments"}
_NOT_WORDS = {
    "type",
    "id",
    "call_id",
    "item_id",
    "status",
    "role",
    "encrypted_content",
    "container_id",
    "file_id",
    "detail",
    "format",
    "object",
    "namespace",
}
_BYTES = {"result", "data", "file_data", "image_url"}
_DEPTH = 20


class Placed(NamedTuple):
    """A part, and where its text stands, counted from its item."""

    part: Part
    path: Path


class Item(NamedTuple):
    """One item, as one message of a conversation."""

    content: Content
    paths: tuple[Path, ...]
    """Where each part stands, counted from the body."""


def conversation(tree: Tree, hosts: Sequence[str]) -> list[Item]:
    """Return the conversation that a request to /v1/responses holds.

    Raises:
        HttpError: 400; an item is not what its type says.
    """
    items: list[Item] = []
    if tree.get("instructions"):
        content = Content((Text(tree["instructions"]),), Role.SYSTEM)
        items.append(Item(content, (("instructions",),)))
    given = tree.get("input", ())
    if isinstance(given, str):
        return [*items, Item(Content((Text(given),), Role.USER), (("input",),))]
    return [*items, *(_item(item, number, hosts) for number, item in enumerate(given))]


def rewrite(tree: Tree, items: Sequence[Item], changes: Sequence[Change]) -> None:
    """Write what may go on into the body that upstream is sent."""
    for change in changes:
        put(tree, items[change.message].paths[change.number], words(change.part))


def answer(output: Sequence[Tree]) -> list[Placed]:
    """Return the parts of a model's answer, its words before its calls; paths from `output`."""
    said: list[Placed] = []
    calls: list[Placed] = []
    for number, item in enumerate(output):
        if item.get("type") in _CALLS:
            field = _CALLS[item["type"]]
            calls.append(Placed(call_of(item), (number, field)))
        rest = leaves(item, skip=_CALLS.get(str(item.get("type"))))
        said += (Placed(part, (number, *path)) for part, path in rest)
    return [*said, *calls]


def is_call(item: Tree) -> bool:
    """Whether an item is something that the model wants called."""
    return item.get("type") in _CALLS


def call_of(item: Tree) -> ToolCall:
    """Return a call as rails judge it."""
    field = _CALLS[item["type"]]
    text = item.get(field) or ""
    return ToolCall(str(item.get("name", "")), str(text), str(item.get("call_id", "")))


def call_field(item: Tree) -> str:
    """Return the field that holds a call's arguments."""
    return _CALLS[item["type"]]


def leaves(item: object, skip: str | None = None) -> Iterator[Placed]:
    """Yield every text that an item holds, whatever its kind; ids and bytes are none."""
    open_: list[tuple[Any, Path]] = [(item, ())]
    while open_:
        here, path = open_.pop(0)
        name = path[-1] if path else ""
        if isinstance(here, str):
            if name in _BYTES:
                yield Placed(Image(), path)
            elif here:
                yield Placed(Text(here), path)
        elif len(path) > _DEPTH:
            raise unreadable("an item is nested too deeply", "input")
        elif isinstance(here, dict):
            # A call's name is judged with its arguments.
            left = _NOT_WORDS | ({skip, "name"} if skip else set())
            open_ += ((inner, (*path, key)) for key, inner in here.items() if key not in left)
        elif isinstance(here, list) and name != "logprobs":
            open_ += ((inner, (*path, slot)) for slot, inner in enumerate(here))


def _item(item: object, number: int, hosts: Sequence[str]) -> Item:
    where = f"input[{number}]"
    if not isinstance(item, dict):
        raise unreadable("expected an item", where)
    kind = item.get("type", "message")
    if kind in _CALLS:
        rest = [] if kind != "mcp_call" else list(leaves(item, skip=_CALLS[kind]))
        placed = [Placed(call_of(item), (_CALLS[kind],))]
        role = Role.ASSISTANT
        placed = [*rest, *placed]
    elif kind == "message":
        role = _ROLE.get(str(item.get("role")), Role.USER)
        _expect_images(item, where, hosts)
        placed = list(leaves(item))
    else:
        role = Role.ASSISTANT if kind == "reasoning" else Role.TOOL
        _expect_images(item, where, hosts)
        placed = list(leaves(item))
    paths = tuple(("input", number, *path) for _, path in placed)
    return Item(Content(tuple(part for part, _ in placed), role), paths)


def _expect_images(item: Tree, where: str, hosts: Sequence[str]) -> None:
    """Refuse addresses of images and files that upstream may not fetch."""
    for field in ("content", "output"):
        parts = item.get(field)
        for slot, part in enumerate(parts if isinstance(parts, list) else []):
            if not isinstance(part, dict):
                raise unreadable("expected a part", f"{where}.{field}[{slot}]")
            for name in ("image_url", "file_url"):
                if isinstance(part.get(name), str):
                    image(part[name], f"{where}.{field}[{slot}].{name}", hosts)

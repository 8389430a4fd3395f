"""What is put around the items of /v1/responses: by a route, or by who asks for another draft."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from balustrade.core.content import Content
from balustrade.gateway.ask import broken
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.routing import ROOM, unread
from balustrade.gateway.wire import Tree, encode
from balustrade.rails.prime.branches import Plan
from balustrade.rails.prime.prime import weighed

_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
"""Fields that name what upstream keeps, and the model sees too."""
_NOT_CAREFUL = ("top_logprobs", "include")
"""Fields that do not fit an answer which is an object first."""

_any = msgspec.json.Decoder()


def is_whole(tree: Tree) -> bool:
    """Whether a request holds all that the model will see, not only what goes on from it."""
    given = tree["input"] if isinstance(tree["input"], list) else []
    is_kept = any(item.get("type") == "item_reference" for item in given)
    return not is_kept and not any(tree.get(name) for name in _ELSEWHERE)


def prepared(tree: Tree, known: Plan) -> Tree:
    """Return a body with what the route puts around its items."""
    before = [_message("system", known.opening)] if known.opening else []
    after = [_message("system", known.closing)] if known.closing else []
    made: Tree = {**tree, "input": [*before, *_items(tree), *after]}
    if not known.branch.weighs:
        return made
    for name in _NOT_CAREFUL:
        made.pop(name, None)
    if isinstance(made.get("text"), dict):
        made["text"] = {name: value for name, value in made["text"].items() if name != "format"}
    if isinstance(made.get("max_output_tokens"), int):
        made["max_output_tokens"] += ROOM
    return made


def formed(tree: Tree, form: Tree) -> Tree:
    """Return a body that asks for an answer of some form, given as chats write it."""
    flat = {"type": form["type"], **form.get("json_schema", {})}
    return {**tree, "text": {**(tree.get("text") or {}), "format": flat}}


def noted(tree: Tree, note: str, _count: int) -> Tree:
    """Return a body with a note after its items; a response has no alternatives."""
    return {**tree, "input": [*_items(tree), _message("system", note)]}


def unpacked(exchange: Exchange, seen: Sequence[Content], data: bytes) -> bytes | None:
    """Return a careful answer with each message's response in the place of its object.

    None if a message cannot be read and the policy lets no error pass; that is on note then.

    Raises:
        HttpError: The answer is not what a responses endpoint answers.
    """
    try:
        tree: Tree = _any.decode(data)
        messages = [item for item in tree["output"] if item.get("type") == "message"]
        written = [
            (parts, [part for part in parts if part.get("type") == "output_text"])
            for parts in (item["content"] for item in messages)
        ]
        texts = ["".join(part["text"] for part in own) for _, own in written]
    except (
        msgspec.DecodeError, UnicodeDecodeError, RecursionError,
        KeyError, TypeError, AttributeError,
    ) as error:  # fmt: skip
        raise broken("upstream did not answer as a responses endpoint does") from error
    for (parts, own), text in zip(written, texts, strict=True):
        if not own:
            continue
        found = weighed(text, exchange.rails.document.on_error)
        if not found.response:
            unread(exchange, seen[-1], found.trouble)
            return None
        said = {"type": "output_text", "text": found.response, "annotations": [], "logprobs": []}
        parts[:] = [said, *(part for part in parts if part not in own)]
    return encode(tree)


def _items(tree: Tree) -> list[Tree]:
    given = tree["input"]
    return given if isinstance(given, list) else [_message("user", given)]


def _message(role: str, text: str) -> Tree:
    return {"type": "message", "role": role, "content": text}

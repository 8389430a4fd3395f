"""Read bodies that clients and upstreams send: typed where something is judged, whole elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from balustrade.gateway.http import HttpError

T = TypeVar("T")

Tree = dict[str, Any]
"""A body as plain values, unknown fields included."""

_any = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode
_PATH = re.compile(r" - at `\$\.?(.*?)`$")
_MISSING = re.compile(r"missing required field `(.*?)`")


class Read(NamedTuple, Generic[T]):
    """A body that was read."""

    body: T
    tree: Tree
    """The same with all that we do not know of; what upstream is sent is written from this, so
    that a key given twice cannot mean one thing to us and another to upstream."""


class Reader(Generic[T]):
    """Reads bodies of one kind; errors name the field, in OpenAI's form.

    Args:
        kind: What a body is.
    """

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._known = frozenset(_names(kind))

    def read(self, data: bytes) -> Read[T]:
        """Return the body, typed and whole.

        Raises:
            HttpError: 400; it is not JSON, or a field is not what it must be.
        """
        try:
            tree = _any.decode(data)
            body = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refusal(error, data) from error
        self._expect_exact(tree)
        return Read(body, tree)

    def _expect_exact(self, tree: object) -> None:
        """Refuse names that differ from ours in case alone: some servers take them for the same.

        Only what we read is looked into; the names in a tool's schema are the client's own.
        """
        known = self._known
        open_: list[Any] = [tree]
        while open_:
            here = open_.pop()
            if type(here) is list:
                open_ += here
            elif type(here) is dict:
                for name, inner in here.items():
                    if name in known:
                        if type(inner) is dict or type(inner) is list:
                            open_.append(inner)
                    elif name.casefold() in known:
                        raise unreadable(
                            f"unknown field {name!r}; did you mean {name.casefold()!r}?", name
                        )


def unreadable(message: str, param: str | None = None) -> HttpError:
    """Return the error for a body that is not what it must be."""
    return HttpError(400, message, param=param)


def _names(kind: object) -> set[str]:
    """Return every field's name in a kind of body, and in what it is made of."""
    _, components = msgspec.json.schema_components([kind])
    return {name for part in components.values() for name in part.get("properties", ())}


def _refusal(error: Exception, data: bytes) -> HttpError:
    if isinstance(error, RecursionError):
        return unreadable("the body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return unreadable(f"the body is not UTF-8{_near(error)}", _field_of(data))
    message = str(error)
    match = _PATH.search(message)
    place = match[1] if match else ""
    missing = _MISSING.search(message)
    if missing:
        place = f"{place}.{missing[1]}" if place else missing[1]
    if isinstance(error, msgspec.ValidationError):
        said = message[: match.start()] if match else message
        return unreadable(said[:1].lower() + said[1:], place or None)
    param = _field_of(data)
    if param is not None:
        return unreadable(f"{param} holds half a surrogate pair, which is not Unicode", param)
    return unreadable(f"the body is not JSON: {message}")


def _near(error: UnicodeDecodeError) -> str:
    return f": {error.reason}"


def _field_of(data: bytes) -> str | None:
    """Return the first field whose text is not Unicode; None if it is something else."""
    try:
        tree = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    return next(_broken(tree, ""), None)


def _broken(tree: object, path: str) -> Iterator[str]:
    open_: list[tuple[object, str]] = [(tree, path)]
    while open_:
        here, where = open_.pop()
        if isinstance(here, str):
            if not _is_unicode(here):
                yield where
        elif isinstance(here, dict):
            for name, inner in here.items():
                if not _is_unicode(name):
                    yield where or "$"
                open_.append((inner, f"{where}.{name}" if where else name))
        elif isinstance(here, list):
            open_ += ((inner, f"{where}[{n}]") for n, inner in enumerate(here))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def put(tree: Tree, path: tuple[str | int, ...], value: object) -> None:
    """Set what stands at a path of a tree."""
    place: Any = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value


def extended(data: bytes, extension: object) -> bytes:
    """Return a JSON object's bytes with one more field, `balustrade`, at its end."""
    end = data.rstrip()
    return b'%s,"balustrade":%s}' % (end[:-1].rstrip(), encode(extension))

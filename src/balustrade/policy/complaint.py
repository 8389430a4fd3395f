"""What is wrong in a policy file: where it stands, what was expected, what was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from balustrade.core.errors import PolicyError
from balustrade.policy.locate import locate, steps

LONGEST = 60
"""Characters of a found value that are shown."""

_PATH = re.compile(r" - at `(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_ENUM = re.compile(r"Invalid enum value ")


class Tried(NamedTuple):
    """A value, and the type that it was to be."""

    shape: Any
    value: Any


def complaint(
    error: msgspec.ValidationError,
    source: str,
    name: str,
    prefix: str = "$",
    tried: Tried | None = None,
) -> PolicyError:
    """Return the error for a value that does not fit, with the line that wrote it.

    Args:
        error: What the decoder found; its path is relative to `prefix`.
        source: The file's text, to find the line in; may be empty.
        name: The file's name.
        prefix: Where in the document the decoder was.
        tried: What was decoded; if given, near names, allowed values and the value are shown.
    """
    text = str(error)
    found = _PATH.search(text)
    inner = found[1] if found else "$"
    text = _PATH.sub("", text)
    path = prefix + inner.removeprefix("$")
    expected = tried and _expected(inspect.type_info(tried.shape), steps(inner))
    unknown = _UNKNOWN.search(text)
    if unknown:
        path = f"{path}.{unknown[1]}"
        text = f"unknown key {unknown[1]!r}{near(unknown[1], _fields(expected))}"
    elif _ENUM.match(text) and (allowed := _allowed(expected)):
        text = f"expected {'one of ' if len(allowed) > 1 else ''}{', '.join(map(repr, allowed))}"
        text += _found(tried, inner)
    elif "required field" not in text and "got" not in text:
        text += _found(tried, inner)
    return located(f"{text[:1].lower()}{text[1:]}", source, name, path)


def located(text: str, source: str, name: str, path: str) -> PolicyError:
    """Return the error for what is wrong at a path, with the line that sets it."""
    line = locate(source, path)
    place = f"{name}:{line}" if line else name
    return PolicyError(f"{place}: {text}, at {path.removeprefix('$.') or '$'}")


def near(word: str, known: Sequence[str]) -> str:
    """Return a hint at the names close to a word, empty if there are none."""
    close = get_close_matches(word, known, n=2)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def _expected(info: inspect.Type, path: Sequence[str | int]) -> inspect.Type | None:
    """Walk a type along a path."""
    for step in path:
        info = _bare(info)
        if isinstance(info, inspect.StructType) and isinstance(step, str):
            kinds = {field.encode_name: field.type for field in info.fields}
            if step not in kinds:
                return None
            info = kinds[step]
        elif isinstance(info, inspect.VarTupleType | inspect.ListType | inspect.FrozenSetType):
            info = info.item_type
        else:
            return None
    return _bare(info)


def _bare(info: inspect.Type) -> inspect.Type:
    """Take off metadata, and `None` from a union with it."""
    while True:
        if isinstance(info, inspect.Metadata):
            info = info.type
        elif isinstance(info, inspect.UnionType):
            info = next(t for t in info.types if not isinstance(t, inspect.NoneType))
        else:
            return info


def _fields(info: inspect.Type | None) -> list[str]:
    return [f.encode_name for f in info.fields] if isinstance(info, inspect.StructType) else []


def _allowed(info: inspect.Type | None) -> list[object]:
    if isinstance(info, inspect.LiteralType):
        return list(info.values)
    if isinstance(info, inspect.EnumType):
        return [member.value for member in info.cls]
    return []


def _found(tried: Tried | None, path: str) -> str:
    value: Any = tried.value if tried else None
    for step in steps(path):
        try:
            value = value[step]
        except (LookupError, TypeError):
            return ""
    shown = repr(value)
    if value is None or len(shown) > LONGEST:
        return ""
    return f", found {shown}"

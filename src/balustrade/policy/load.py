"""TOML to a policy document, with errors that name file, line, table and key."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import msgspec
from msgspec import Struct

from balustrade.core.errors import PolicyError, UnknownNameError
from balustrade.policy.document import Document
from balustrade.policy.locate import locate

LIMIT = 4_000_000
"""Bytes a policy file may have."""

_PATH = re.compile(r" - at `(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")


class Source(Struct, frozen=True):
    """The text of a policy file, and the name that errors give it."""

    text: str
    name: str


def load(path: str | Path) -> Document:
    """Read a policy file, or a preset by its bare name.

    Raises:
        PolicyError: It cannot be read, is not TOML, or says something a policy cannot say.
    """
    source = read(path)
    return loads(source.text, source.name)


def read(path: str | Path) -> Source:
    """Return the text of a policy file or preset, for who needs it beside the document.

    Raises:
        PolicyError: It cannot be read.
    """
    name = str(path)
    if name in presets():
        text = (files("balustrade.policy") / "presets" / f"{name}.toml").read_text("utf-8")
        return Source(text, f"{name} (preset)")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        if "/" not in name and "." not in name:
            raise UnknownNameError(
                "policy preset", name, get_close_matches(name, presets())
            ) from error
        raise PolicyError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > LIMIT:
        raise PolicyError(f"{name}: has {len(data)} bytes, expected at most {LIMIT}")
    try:
        return Source(data.decode("utf-8-sig"), Path(path).name)
    except UnicodeDecodeError as error:
        raise PolicyError(f"{name}: not UTF-8 at byte {error.start}") from error


def loads(source: str, name: str = "policy") -> Document:
    """Read a policy from TOML text; `name` stands for the file in errors."""
    try:
        tree = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: not TOML: {error}") from error
    try:
        document = msgspec.convert(tree, Document)
    except msgspec.ValidationError as error:
        raise complaint(error, source, name) from error
    _check_names(document, name)
    return document


def complaint(
    error: msgspec.ValidationError, source: str, name: str, prefix: str = "$"
) -> PolicyError:
    """Return the error for a value that does not fit, with the line that wrote it.

    Args:
        error: What the decoder found; its path is relative to `prefix`.
        source: The file's text, to find the line in; may be empty.
        name: The file's name.
        prefix: Where in the document the decoder was.
    """
    text = str(error)
    found = _PATH.search(text)
    path = prefix + (found[1].removeprefix("$") if found else "")
    text = _PATH.sub("", text)
    unknown = _UNKNOWN.search(text)
    if unknown:
        path = f"{path}.{unknown[1]}"
        text = f"unknown key {unknown[1]!r}"
    line = locate(source, path)
    place = f"{name}:{line}" if line else name
    return PolicyError(
        f"{place}: {text[:1].lower()}{text[1:]}, at {path.removeprefix('$.') or '$'}"
    )


def presets() -> list[str]:
    """Return the names of the policies that come with the package."""
    folder = files("balustrade.policy") / "presets"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def _check_names(document: Document, name: str) -> None:
    for stage, spec in document.stage.items():
        for twin, times in Counter(rule.name for rule in spec.rules).items():
            if times > 1:
                raise PolicyError(f"{name}: stage.{stage} has {times} rules named {twin!r}")
        for number, rule in enumerate(spec.rules):
            if rule.threshold is not None and rule.false_alarms is not None:
                raise PolicyError(
                    f"{name}: stage.{stage}.rules[{number}] ({rule.name!r}) sets both threshold "
                    "and false_alarms; expected one of them"
                )

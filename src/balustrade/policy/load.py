"""TOML to a policy document, with errors that name file, line, table and key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import msgspec
from msgspec import Struct

from balustrade.core.content import Stage
from balustrade.core.errors import PolicyError, UnknownNameError
from balustrade.policy.complaint import Tried, complaint, located
from balustrade.policy.document import Document, StageSpec
from balustrade.policy.route import RouteSpec

__all__ = ["LIMIT", "Source", "complaint", "load", "loads", "presets", "read"]

LIMIT = 4_000_000
"""Bytes a policy file may have."""

STAGES: dict[str, type[StageSpec | RouteSpec]] = {
    **{stage.value: StageSpec for stage in Stage},
    "route": RouteSpec,
}


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
    except RecursionError as error:
        raise PolicyError(f"{name}: not TOML: nested too deeply") from error
    _check_stages(tree, source, name)
    try:
        document = msgspec.convert(tree, Document)
    except msgspec.ValidationError as error:
        raise complaint(error, source, name, tried=Tried(Document, tree)) from error
    _check_rules(document, source, name)
    return document


def _check_stages(tree: Mapping[str, object], source: str, name: str) -> None:
    """Decode each stage apart, so that a complaint is about the stage alone."""
    stages = tree.get("stage")
    if not isinstance(stages, dict):
        return
    for stage, spec in stages.items():
        path = f"$.stage.{stage}"
        kind = STAGES.get(stage)
        if kind is None:
            text = f"unknown stage {stage!r}, expected one of {', '.join(map(repr, STAGES))}"
            raise located(text, source, name, path)
        try:
            msgspec.convert(spec, kind)
        except msgspec.ValidationError as error:
            raise complaint(error, source, name, path, Tried(kind, spec)) from error


def presets() -> list[str]:
    """Return the names of the policies that come with the package."""
    folder = files("balustrade.policy") / "presets"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def _check_rules(document: Document, source: str, name: str) -> None:
    for stage in Stage:
        spec = document.stage.at(stage)
        seen: set[str] = set()
        for number, rule in enumerate(spec.rules):
            path = f"$.stage.{stage.value}.rules[{number}]"
            if rule.name in seen:
                text = f"another rule of the stage is named {rule.name!r}"
                raise located(text, source, name, f"{path}.name")
            seen.add(rule.name)
            if rule.threshold is not None and rule.false_alarms is not None:
                text = f"rule {rule.name!r} sets both threshold and false_alarms"
                raise located(f"{text}; expected one of them", source, name, f"{path}.false_alarms")

"""Tell a guard model's format from its name, or from the files of its folder."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from balustrade.core.errors import PolicyError
from balustrade.core.registry import resolve
from balustrade.guards.formats import FORMATS
from balustrade.guards.formats.form import Format

HUB = "hub:"
"""What begins the name of a model that is loaded here, by hub name or path."""

NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"aegis.*(?:defensive|permissive)", "aegis-1"),
        (r"llama-?guard-?4", "llama-guard-4"),
        (r"llama-?guard-?3-?1b", "llama-guard-3-1b"),
        (r"llama-?guard-?3-?11b", "llama-guard-3-vision"),
        (r"llama-?guard-?3", "llama-guard-3"),
        (r"llama-?guard-?2", "llama-guard-2"),
        (r"llama-?guard(?:-?7b)?$", "llama-guard-1"),
        (r"prompt-?guard-?2", "prompt-guard-2"),
        (r"prompt-?guard", "prompt-guard-1"),
        (r"shieldgemma(?!-2-)", "shieldgemma"),
        (r"wildguard", "wildguard"),
        (r"granite-guardian-3\.[01]", "granite-guardian-3.0"),
        (r"granite-guardian-3\.2", "granite-guardian-3.2"),
        (r"qwen3guard-stream", "qwen3guard-stream"),
        (r"qwen3guard", "qwen3guard"),
        (r"(?:nemoguard|nemotron)(?!.*reasoning).*(?:content-safety|safety-guard)", "nemotron"),
        (r"duoguard", "duoguard"),
        (r"polyguard(?!.*ministral)", "polyguard"),
    )
)
"""The first that is found in a name, in lower case and with hyphens, is its format."""


def format_of(model: str, name: str = "") -> Format | None:
    """Return the format of that name; if none is given, the one a `hub:` model is known to have.

    A model behind a server has the format that it is given alone, as its name there may be any.

    Raises:
        UnknownNameError: There is no format of that name.
        PolicyError: The name stands for something that is no format.
    """
    known = name or (recognised(model.removeprefix(HUB)) if model.startswith(HUB) else "")
    return _made(known) if known else None


@cache
def recognised(name: str) -> str:
    """Return which format a model on the hub or in a folder has, empty if it is not known.

    Of a folder its own name tells first, then `config.json`: where the weights came from, what
    the model is built as, and what its labels are called.
    """
    folder = Path(name)
    found = _by_name(folder.name if folder.is_dir() else name)
    return found or (_by_config(folder / "config.json") if folder.is_dir() else "")


def _made(name: str) -> Format:
    made = resolve("format", name, FORMATS)
    if not hasattr(made, "reports"):
        raise PolicyError(f"format {name!r} is no format: it does not say what it reports")
    return cast("Format", made)


def _by_name(name: str) -> str:
    plain = name.lower().replace("_", "-")
    return next((known for pattern, known in NAMES if pattern.search(plain)), "")


class _Config(Struct):
    """What is read of a model's own description."""

    name: str = msgspec.field(name="_name_or_path", default="")
    architectures: list[str] = []
    id2label: dict[str, str] = {}


def _by_config(path: Path) -> str:
    try:
        config = msgspec.json.decode(path.read_bytes(), type=_Config)
    except (OSError, msgspec.MsgspecError):
        return ""
    if "Qwen3ForGuardModel" in config.architectures:
        return "qwen3guard-stream"
    labels = {label.lower() for label in config.id2label.values()}
    if labels == {"benign", "injection", "jailbreak"}:
        return "prompt-guard-1"
    if labels == {"benign", "malicious"}:
        return "prompt-guard-2"
    return _by_name(config.name)

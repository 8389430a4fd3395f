"""What a run was made of: the digest of each data file, the code's revision, the config."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from balustrade.core.digest import digest
from balustrade.core.spec import Spec
from balustrade.data import jsonl
from balustrade.shipped import Description, forget


def manifest(config: Spec, data: Path) -> dict[str, Any]:
    """Describe a run so that it can be made again, and its data checked."""
    described = []
    for file in jsonl.files(data):
        rows = list(jsonl.read(file))
        described.append(
            {
                "file": file.name,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "rows": len(rows),
                "sources": sorted({row.source for row in rows}),
                "licences": sorted({row.licence for row in rows}),
            }
        )
    options = {
        name: value
        for name, value in msgspec.to_builtins(config).items()
        if name not in {"data", "out", "parallel", "work", "base"}
    }
    found = {
        "config": options,
        "config_sha256": digest(options),
        "code": revision(),
        "own": digests(Path(__file__).parent, ("**/*.tsv", "**/*.toml", "**/*.txt")),
        "data": described,
    }
    if folder := getattr(config, "parallel", ""):
        found["parallel"] = digests(Path(folder), ("*.tsv.gz", "lexicon/*.tsv.gz"))
    return found


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, the same bytes for the same value."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def write_description(folder: Path, known: Description) -> None:
    """Write a model's description; whoever asks for it from now on is given this one."""
    write_json(folder / f"{known.name}.json", known)
    forget()


def digests(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder that fits a pattern, by its relative path."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def revision() -> dict[str, str]:
    """Return the commit the code is of, and the digest of the sources as they are."""
    root = Path(__file__).parents[1]
    code = hashlib.sha256()
    for part in ("backends", "data", "models", "train", "text", "evals/calibrate.py"):
        for file in sorted([root / part] if part.endswith(".py") else (root / part).rglob("*.py")):
            code.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)  # noqa: S603
        commit = found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return {"commit": commit, "sources_sha256": code.hexdigest()}

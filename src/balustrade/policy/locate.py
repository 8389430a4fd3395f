"""Find the line of a TOML file that a path such as `$.stage.input.rules[0].threshold` means."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def locate(source: str, path: str) -> int:
    """Return the number of the line (from 1) that sets the path, or its nearest parent; 0 if none.

    Understands tables, arrays of tables and dotted keys; what stands inside an inline table or a
    multi-line value is found by the key that holds it.
    """
    wanted = _steps(path)
    best, best_depth = 0, 0
    for number, steps in _settings(source):
        depth = len(steps)
        if depth >= best_depth and wanted[:depth] == steps and (depth > best_depth):
            best, best_depth = number, depth
    return best


def _steps(path: str) -> list[str | int]:
    return [name or int(index) for name, index in _STEP.findall(path)]


def _settings(source: str) -> list[tuple[int, list[str | int]]]:
    counts: dict[str, int] = {}
    table: list[str | int] = []
    found: list[tuple[int, list[str | int]]] = []
    for number, line in enumerate(source.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            name = header[2]
            table = [*_names(name)]
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                found.append((number, [*table]))
                table.append(counts[name])
            found.append((number, [*table]))
        elif key := _KEY.match(line):
            found.append((number, [*table, *_names(key[1])]))
    return found


def _names(dotted: str) -> list[str | int]:
    return [name.strip().strip("\"'") for name in dotted.split(".")]

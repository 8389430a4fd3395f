"""Find the line of a TOML file that a path such as `$.stage.input.rules[0].threshold` means."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = r"""[\w-]+|"[^"]*"|'[^']*'"""
_HEADER = re.compile(rf"^\s*(\[\[?)\s*((?:{_NAME})(?:\s*\.\s*(?:{_NAME}))*)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"^\s*((?:{_NAME})(?:\s*\.\s*(?:{_NAME}))*)\s*=")
_NAMES = re.compile(_NAME)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_FENCE = re.compile(r'"""|\'\'\'')


def locate(source: str, path: str) -> int:
    """Return the number of the line (from 1) that sets the path, or its nearest parent; 0 if none.

    Understands tables, arrays of tables and dotted keys; what stands inside an inline table or a
    multi-line value is found by the key that holds it.
    """
    wanted = steps(path)
    best, best_depth = 0, 0
    for number, found in _settings(source):
        depth = min(len(found), len(wanted))
        if depth > best_depth and wanted[:depth] == found[:depth]:
            best, best_depth = number, depth
    return best


def steps(path: str) -> list[str | int]:
    """Return the keys and numbers of a path, without its root."""
    return [name or int(index) for name, index in _STEP.findall(path)]


def _settings(source: str) -> Iterator[tuple[int, list[str | int]]]:
    counts: dict[tuple[str | int, ...], int] = {}
    table: list[str | int] = []
    for number, line in _lines(source):
        if header := _HEADER.match(line):
            *parents, last = _names(header[2])
            table = [*_members(parents, counts), last]
            if header[1] == "[[":
                yield number, table
                counts[tuple(table)] = counts.get(tuple(table), -1) + 1
                table = [*table, counts[tuple(table)]]
            yield number, table
        elif key := _KEY.match(line):
            yield number, [*table, *_names(key[1])]


def _lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that do not stand inside a multi-line string."""
    fence = ""
    for number, line in enumerate(source.split("\n"), 1):
        if not fence:
            yield number, line
        for mark in _FENCE.findall(line):
            if not fence:
                fence = mark
            elif fence == mark:
                fence = ""


def _members(names: list[str], counts: dict[tuple[str | int, ...], int]) -> list[str | int]:
    """Return the path of names in which each array stands for its last member."""
    found: list[str | int] = []
    for name in names:
        found.append(name)
        if tuple(found) in counts:
            found.append(counts[tuple(found)])
    return found


def _names(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in _NAMES.findall(dotted)]

"""The requests that systems are compared on: ours, or a file of JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct

from balustrade.core.errors import DataError
from balustrade.data import jsonl
from balustrade.policy.route import Precedent, RouteName


class Row(Struct, frozen=True):
    """A request, and what people said of it; unknown fields are ignored."""

    id: str
    text: str
    label: Literal["safe", "unsafe"]
    """Of the request, not of an answer to it."""
    pair: str | int | None = None
    """What joins a harmless request to the harmful one that it sounds like."""
    attack: bool = False
    """Whether a harmful request is wrapped in a jailbreak."""
    route: RouteName | None = None
    """The route that it should take under the guidelines at hand, where somebody has said."""
    kind: str = ""
    """As in the shared row format; rows whose label is about an answer are refused."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("expected a request, found an empty text")
        if self.attack and self.label != "unsafe":
            raise ValueError("expected label 'unsafe' where attack is true, found 'safe'")
        if self.kind == "response":
            raise ValueError("expected a label of the request, found kind 'response'")

    @property
    def is_unsafe(self) -> bool:
        """Whether the label is `unsafe`."""
        return self.label == "unsafe"


_decode = msgspec.json.Decoder(Row).decode


def shipped() -> tuple[Row, ...]:
    """Return our own rows: mild, in pairs, and some in wrappers."""
    with as_file(files("balustrade.evals.tax") / "rows.jsonl") as path:
        return read(path)


def read(path: Path) -> tuple[Row, ...]:
    """Return the rows of a file, plain or compressed with gzip; blank lines are passed over.

    Raises:
        DataError: The file cannot be read, holds nothing, or a line is not a row or repeats an ID;
            names file and line.
    """
    rows: dict[str, Row] = {}
    for number, line in jsonl.lines(path):
        try:
            row = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if row.id in rows:
            raise DataError(f"{path}:{number}: another row has the id {row.id!r}")
        rows[row.id] = row
    if not rows:
        raise DataError(f"{path}: expected at least one row, found none")
    return tuple(rows.values())


def pairs(rows: Sequence[Row]) -> dict[str | int, list[int]]:
    """Return the numbers of the rows of each pair that has a harmless and a harmful request."""
    found: dict[str | int, list[int]] = {}
    for number, row in enumerate(rows):
        if row.pair is not None:
            found.setdefault(row.pair, []).append(number)
    return {
        pair: numbers
        for pair, numbers in found.items()
        if len({rows[number].label for number in numbers}) == 2
    }


def drawn(rows: Sequence[Row], limit: int, seed: int) -> tuple[Row, ...]:
    """Draw at most so many rows without replacement, in their order; pairs stay together."""
    if not limit or len(rows) <= limit:
        return tuple(rows)
    groups: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        key = ("row", number) if row.pair is None else ("pair", row.pair)
        groups.setdefault(key, []).append(number)
    order = list(groups.values())
    Random(seed).shuffle(order)  # noqa: S311 - not for secrets
    kept: list[int] = []
    for group in order:
        if len(kept) + len(group) <= limit:
            kept += group
    # A limit smaller than any group still draws something.
    return tuple(rows[number] for number in sorted(kept or order[0][:limit]))


def expect_unseen(rows: Sequence[Row], shown: Sequence[Precedent]) -> None:
    """Refuse rows that a guard is shown as examples: it would be measured on what it was told.

    Raises:
        DataError: One is.
    """
    known = {plain(each.request) for each in shown}
    for row in rows:
        if plain(row.text) in known:
            raise DataError(f"row {row.id!r} is also an example that the guard is shown")


def plain(text: str) -> str:
    """Return a text by which two are compared: words alone, in small letters."""
    letters = (char if char.isalnum() else " " for char in text.casefold())
    return " ".join("".join(letters).split())

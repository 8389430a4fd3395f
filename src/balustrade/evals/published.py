"""What others have published for the sets we measure on, each figure with its source."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct


class Published(Struct, frozen=True, forbid_unknown_fields=True):
    """One system's figures on one set, as its source gives them."""

    set: str
    """Our name of the set that comes closest; `notes` says how it differs."""
    system: str
    source: str
    lang: str = ""
    """The one language the figure is about, where the set has several."""
    f1: float | None = None
    auprc: float | None = None
    false_alarms: float | None = None


class Shelf(Struct, frozen=True, forbid_unknown_fields=True):
    """All published figures, and for each set how theirs and ours differ."""

    notes: dict[str, str]
    figures: tuple[Published, ...]

    def of(self, name: str) -> tuple[Published, ...]:
        """Return the figures for a set, best F1 first, those without one last."""
        found = [figure for figure in self.figures if figure.set == name]
        return tuple(sorted(found, key=lambda figure: -(figure.f1 or 0.0)))


@cache
def published() -> Shelf:
    """Return the figures that come with the package."""
    data = (files("balustrade.evals") / "published.json").read_bytes()
    return msgspec.json.decode(data, type=Shelf)

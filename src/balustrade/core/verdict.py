"""What a guard reports: evidence with a category, a score and a place. A guard never acts."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

Score = Annotated[float, Meta(ge=0.0, le=1.0)]


class Severity(IntEnum):
    """How grave a finding is, where a guard can grade it."""

    MINOR = 1
    MODERATE = 2
    SEVERE = 3


class Span(Struct, frozen=True, order=True):
    """A place: `start` to `end` (exclusive) in part number `part`, in code points of its text."""

    part: int
    start: int
    end: int


class Finding(Struct, frozen=True):
    """A piece of evidence."""

    category: str
    """A taxonomy name (core/taxonomy.py), or the policy author's own."""

    score: Score
    """Calibrated probability in [0, 1]."""

    span: Span | None = None
    """Where; absent if the finding is about the whole content."""

    severity: Severity | None = None
    """How grave; absent if the guard cannot grade."""

    note: str = ""
    """One sentence for a person: why. Never the matched text itself."""


class Verdict(Struct, frozen=True, gc=False):
    """What one guard reports of one content."""

    guard: str
    findings: tuple[Finding, ...] = ()
    error: str = ""
    """Why it could not judge; the policy decides what follows."""

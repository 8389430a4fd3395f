"""One kind of thing that patterns find: where it may stand, and the test that tells it is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Candidate(NamedTuple):
    """What a pattern matched, with a little of what stands around it."""

    text: str
    before: str
    """Up to 32 characters."""
    after: str
    """Up to 8 characters."""


def always(candidate: Candidate) -> float:
    """Score what the pattern alone tells for certain."""
    return 0.95 if len(set(candidate.text)) > 6 else 0.0


class Entity(NamedTuple):
    """A kind of thing, as a pattern in RE2's syntax; its only group, if any, is the thing."""

    name: str
    category: str
    title: str
    """What a person calls it."""
    pattern: str
    check: Callable[[Candidate], float] = always
    """Returns how sure it is, 0 if it is something else."""
    trim: Callable[[str], int] = len
    """How many characters of the match belong to the thing."""
    is_own: bool = False
    """Whether a policy's author wrote it, so that its matches may need a bound on their work."""


def stands_alone(candidate: Candidate) -> bool:
    """Whether a number is not a piece of something longer: a UUID, a version, a path, a decimal."""
    before, after = candidate.before, candidate.after
    if len(before) > 1 and before[-1] in "-_./\\" and before[-2].isalnum():
        return False
    if before and (before[-1].isalnum() or before[-1] in "_#$"):
        return False
    if not after:
        return True
    if after[0].isalnum() or after[0] == "_":
        return not after[0].isascii()
    return not (len(after) > 1 and after[0] in "-_./\\@" and after[1].isalnum())


def digits(text: str) -> str:
    """Return the ASCII digits of a text."""
    return text if text.isdecimal() else "".join(filter(str.isdecimal, text))

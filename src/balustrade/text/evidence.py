"""Tell at the cost of one linear scan whether a text may be disguised, and by what."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import re2

_ENCODED = (
    r"[A-Za-z0-9+/_-]{16}|[A-Za-z0-9+/_-]{6}==?|(?:[0-9a-fA-F]{2}[ :,]?){5}|(?:[01]{8} ?){3}|"
    r"\\[xu]\{?[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|&#[0-9xX]"
)
_SPELT = (
    r"[A-Za-z][013457@$!|8]{1,2}[A-Za-z]|\b[013457$@8]{1,2}[A-Za-z]{2}|[a-z][@$]\b|"
    r"\pL(?:[ \t.*|,/~•·_-]{1,2}\pL){3}"
)
_TURNED = (
    r"(?i)\b(?:gur|naq|lbh|ubj|jung|guvf|gung|jvgu|ner|znxr|vtaber|vafgehpgvbaf|cebzcg|cyrnfr|"
    r"eht|dna|uoy|woh|tahw|siht|taht|htiw|erongi|snoitcurtsni|tpmorp|esaelp|rot-?13)\b"
)


class Evidence(NamedTuple):
    """Whether something of a kind may be there."""

    encoded: bool
    spelt: bool
    turned: bool


def evidence(text: str) -> Evidence:
    """Look for what each kind of disguise cannot do without."""
    raw = text.encode("utf-8", "surrogatepass")
    found = _compiled().Match(raw) or ()
    return Evidence(0 in found, 1 in found, 2 in found)


@cache
def _compiled() -> Any:  # noqa: ANN401 - re2 has no types
    known = re2.Set.SearchSet()
    for pattern in (_ENCODED, _SPELT, _TURNED):
        known.Add(pattern)
    known.Compile()
    return known

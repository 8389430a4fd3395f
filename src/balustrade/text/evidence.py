"""Tell at the cost of one linear scan whether a text may be disguised, and by what."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import re2

_ENCODED = {
    "base64": r"[A-Za-z0-9+/_-]{16}|[A-Za-z0-9+/_-]{6}==?",
    "hexadecimal": r"(?:[2-9a-fA-F][0-9a-fA-F][ :,]?){5}",
    "binary": r"(?:[01]{8} ?){3}",
    "escape codes": r"\\[xu]\{?[0-9a-fA-F]{2}",
    "URL encoding": r"%[0-9a-fA-F]{2}",
    "HTML entities": r"&#[0-9xX]",
}
_SPELT = (
    r"[A-Za-z][0134578$!|]{1,2}[A-Za-z]|\b[0134578]{1,2}[A-Za-z]{2}|"
    # Not in a mail address.
    r"[A-Za-z]@[A-Za-z]{1,8}(?:[^\w.@-]|$)|"
    r"\pL(?:[ \t.*|,/~•·_-]{1,2}\pL){3}"
)
_TURNED = (
    r"(?i)\b(?:gur|naq|lbh|ubj|jung|guvf|gung|jvgu|ner|znxr|vtaber|vafgehpgvbaf|cebzcg|cyrnfr|"
    r"eht|dna|uoy|woh|tahw|siht|taht|htiw|erongi|snoitcurtsni|tpmorp|esaelp|rot-?13)\b"
)


class Evidence(NamedTuple):
    """Whether something of a kind may be there."""

    encoded: frozenset[str]
    """The encodings whose signs are there."""
    spelt: bool
    turned: bool


def evidence(text: str) -> Evidence:
    """Look for what each kind of disguise cannot do without."""
    found = _compiled().Match(text.encode("utf-8", "surrogatepass"))
    return _read(tuple(found)) if found else _ANYTHING


@cache
def _read(found: tuple[int, ...]) -> Evidence:
    encoded = frozenset(name for number, name in enumerate(_ENCODED) if number in found)
    return Evidence(encoded, len(_ENCODED) in found, len(_ENCODED) + 1 in found)


_ANYTHING = Evidence(frozenset(_ENCODED), spelt=True, turned=True)


@cache
def _compiled() -> Any:  # noqa: ANN401 - re2 has no types
    known = re2.Set.SearchSet()
    for pattern in (*_ENCODED.values(), _SPELT, _TURNED):
        known.Add(pattern)
    # The empty pattern always matches: no answer at all means that memory ran out.
    known.Add("")
    known.Compile()
    return known

"""Splits that stay the same, and the search for rows of one set that are copies in another."""

from __future__ import annotations

import hashlib
import unicodedata

_WIDTH = 8


def share_of(group: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, letters and digits of it.

    A row belongs to a split by comparing this with the split's share: equal texts, or equal group
    names, always fall together, on every machine and whatever else is in the data.
    """
    data = plain(group).encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(data, digest_size=_WIDTH).digest(), "big")
    return number / (1 << 8 * _WIDTH)


def plain(text: str) -> str:
    """Return the letters and digits of a text, case folded, words joined by single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())

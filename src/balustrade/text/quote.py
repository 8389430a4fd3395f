"""Quote a text that nobody vouches for, so that a model can tell where it ends."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple


class Marked(NamedTuple):
    """A text between its marks, and the mark."""

    text: str
    mark: str


def marked(label: str, text: str) -> Marked:
    """Quote a text between marks made from its digest, which it can therefore not hold.

    Args:
        label: What it is, in a few words of the asker's own.
        text: The text; it is not changed.
    """
    mark = sha256(f"{label}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Marked(f"<<{label} {mark}>>\n{text}\n<<end {mark}>>", mark)

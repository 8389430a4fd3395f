"""Rows that nothing may learn from: copies of test rows that `train/leak.py` found."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def excluded() -> frozenset[str]:
    """Return the IDs, as `excluded.txt` lists them."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))

"""Numbers on the command line; one that is out of range is an error that names the option."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Read a number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text}")
    return value


def natural(text: str) -> int:
    """Read a number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, found {text}")
    return value


def share(text: str) -> float:
    """Read a number between 0 and 1, neither included."""
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return value


def window(text: str) -> int:
    """Read how many characters are read at once: 64 to 100,000."""
    value = int(text)
    if not 64 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"expected 64 to 100000 characters, found {text}")
    return value

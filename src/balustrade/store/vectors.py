"""Exact k nearest neighbours in blocks, in NumPy; the vectors may lie in a mapped file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.core.errors import StoreError

BLOCK = 1024
"""Rows compared at once: with 384 columns their products take 3 MB."""

Rows = NDArray[np.float32]


class Nearest(NamedTuple):
    """The nearest rows of each query, nearest first; shapes (queries, k)."""

    numbers: NDArray[np.intp]
    similarities: NDArray[np.float64]


def nearest(rows: Rows, queries: Rows, k: int, *, block: int = BLOCK) -> Nearest:
    """Return the k rows with the highest inner product with each query; all if there are fewer.

    Of equal rows the first is nearest. Neither the block nor what else is asked moves a bit: the
    products are summed row by row in double precision, not by a matrix product, whose last bits
    depend on its shape.

    Args:
        rows: What is searched, shape (rows, columns); may be mapped from a file.
        queries: What is looked for, shape (queries, columns).
        k: How many are wanted.
        block: Rows that are read at once.

    Raises:
        ValueError: The columns differ, or `k` or `block` is less than one.
    """
    if rows.ndim != 2 or queries.ndim != 2 or rows.shape[1] != queries.shape[1]:
        raise ValueError(f"expected columns alike, found {rows.shape} and {queries.shape}")
    if k < 1 or block < 1:
        raise ValueError(f"expected k and block of at least 1, found {k} and {block}")
    kept = min(k, len(rows))
    numbers = np.empty((len(queries), kept), np.intp)
    similarities = np.empty((len(queries), kept))
    for slot, query in enumerate(queries.astype(np.float64)):
        numbers[slot], similarities[slot] = _nearest(rows, query, kept, block)
    return Nearest(numbers, similarities)


def unit(rows: Rows) -> Rows:
    """Return the rows at length one, so that inner products are cosines; zeros stay zeros."""
    lengths = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def save(path: Path, rows: Rows) -> None:
    """Write rows to a file that `load` maps."""
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(rows, np.float32), allow_pickle=False)


def load(path: Path) -> Rows:
    """Map a file's rows into memory; what is not touched is not read.

    Raises:
        StoreError: The file cannot be read, or holds no rows of float32.
    """
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as vectors: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype != np.float32:
        raise StoreError(f"{path}: expected rows of float32, found something else")
    return rows


def _nearest(
    rows: Rows, query: NDArray[np.float64], kept: int, block: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    numbers = np.empty(0, np.intp)
    best = np.empty(0)
    for first in range(0, len(rows), block):
        products = rows[first : first + block] * query
        here = np.add.reduce(products, axis=1)
        numbers = np.concatenate([numbers, np.arange(first, first + len(here))])
        best = np.concatenate([best, here])
        # Stable, so that of equals the first by number stays first.
        order = np.argsort(-best, kind="stable")[:kept]
        numbers, best = numbers[order], best[order]
    return numbers, best

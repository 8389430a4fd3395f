"""Texts as sparse rows over the buckets of the table, as the shipped code hashes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from balustrade.backends.ngrams import GROUPS, KINDS, segments

_BLOCK = 256


def sparse_rows(folded: Sequence[str], bits: int) -> csr_matrix:
    """Return a matrix of shape (texts, 2**bits): each n-gram adds 1 / sqrt(count of its group)."""
    blocks = [
        _block(folded[first : first + _BLOCK], bits) for first in range(0, len(folded), _BLOCK)
    ]
    return csr_matrix(vstack(blocks, format="csr"))


def _block(folded: Sequence[str], bits: int) -> csr_matrix:
    found = segments(folded)
    buckets = (found.hashes >> np.uint64(64 - bits)).astype(np.int32)
    starts = found.starts.ravel()
    sizes = np.diff(starts, append=len(buckets))
    texts = np.tile(np.arange(len(folded)), KINDS)
    groups = np.repeat(np.arange(GROUPS), len(starts) // GROUPS)
    values: NDArray[np.float32] = (1.0 / np.sqrt(found.counts[groups, texts])).astype(np.float32)
    owners = np.repeat(texts, sizes)
    real = buckets != 0
    matrix = csr_matrix(
        (np.repeat(values, sizes)[real], (owners[real], buckets[real])),
        shape=(len(folded), 1 << bits),
    )
    matrix.sum_duplicates()
    return matrix

"""A table of small integers whose rows n-grams choose: read from bytes, summed for many texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from balustrade.backends.ngrams import GROUPS, KINDS, Segments, segments
from balustrade.backends.tensors import Tensors
from balustrade.core.errors import BackendError

LANE = 256
"""Rows summed before lanes of 16 bits must widen: 256 times 255 still fits."""

_LOW = np.uint64(0x00FF00FF00FF00FF)
_BYTE = np.uint64(8)


class Table:
    """Rows of int8, packed eight columns to a word so that one addition sums four of them.

    Args:
        rows: Shape (2**bits, columns). Row 0 answers for what is no n-gram, and must be zero.
    """

    def __init__(self, rows: NDArray[np.int8]) -> None:
        size, self.columns = rows.shape
        self._shift = np.uint64(64 - (size.bit_length() - 1))
        packed = np.full((size, -(-self.columns // 8) * 8), 128, np.uint8)
        packed[:, : self.columns] = rows.view(np.uint8) ^ np.uint8(128)
        self._words = packed.view(np.uint64)

    def sums(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the sums of each text's rows, and how many n-grams they are of.

        Args:
            texts: Folded; at least one.

        Returns:
            Shapes (groups, texts, columns) and (groups, texts).
        """
        found = segments(texts)
        return self._reduce(found), found.counts

    def _reduce(self, found: Segments) -> NDArray[np.int64]:
        buckets = (found.hashes >> self._shift).astype(np.int64)
        starts = found.starts.ravel()
        sizes = np.empty_like(starts)
        np.subtract(starts[1:], starts[:-1], out=sizes[:-1])
        sizes[-1] = len(buckets) - starts[-1]
        owners, begins = _lanes(starts, sizes)
        rows = self._words.take(buckets, axis=0)
        even = np.add.reduceat(rows & _LOW, begins, axis=0)
        rows >>= _BYTE
        rows &= _LOW
        odd = np.add.reduceat(rows, begins, axis=0)
        lanes = np.empty((len(begins), rows.shape[1] * 4, 2), np.int64)
        lanes[:, :, 0] = even.view(np.uint16)
        lanes[:, :, 1] = odd.view(np.uint16)
        totals = lanes.reshape(len(begins), -1)[:, : self.columns]
        if len(begins) > len(starts):
            totals = np.add.reduceat(totals, owners, axis=0)
        totals -= 128 * sizes[:, None]
        kinds = totals.reshape(GROUPS, KINDS // GROUPS, -1, self.columns)
        pooled: NDArray[np.int64] = np.add.reduce(kinds, axis=1)
        return pooled


def _lanes(
    starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut segments into lanes; return the first lane of each segment, and where lanes begin."""
    if np.maximum.reduce(sizes) <= LANE:
        return starts, starts
    pieces = -(-sizes // LANE)
    owners = pieces.cumsum() - pieces
    place = np.arange(int(np.add.reduce(pieces))) - owners.repeat(pieces)
    return owners, starts.repeat(pieces) + LANE * place


def unpack(data: bytes) -> NDArray[np.int8]:
    """Read the tensor `table` from the bytes of a safetensors file.

    Raises:
        BackendError: The bytes are not such a file, or the table is not int8 of 2**n rows.
    """
    try:
        rows: NDArray[np.int8] = Tensors(data)["table"]
        fits = rows.dtype == np.int8 and rows.ndim == 2 and rows.shape[0].bit_count() == 1
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"not a safetensors file with a table: {error}") from error
    if not fits or rows[0].any():
        raise BackendError("expected an int8 table of 2**n rows, the first of them zero")
    return rows


def pack(rows: NDArray[np.int8]) -> bytes:
    """Return the bytes of a safetensors file that holds the table; `unpack` undoes it."""
    entry = {"dtype": "I8", "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}
    header = json.dumps({"table": entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + rows.tobytes()

"""The monitor's network: its weights, and one step of it, whose sums no order of summing changes.

Pieces are small integers, states are rounded to steps of 1/1024 and weights to steps of 2**-20, and
float64 holds every sum of such products whole. The weights between states, where the time goes, are
rounded to steps so large that float32 does (1/512, as shipped), which takes half as long.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.backends.tensors import Tensors
from balustrade.core.errors import BackendError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

STEPS = 1024
"""Steps from 0 to 1 that a number of a state is rounded to."""

FINE = 2.0**20
"""Steps from 0 to 1 that a weight is rounded to."""

WHOLE = 2.0**24
"""Up to here float32 holds every whole number."""

KEPT = 8_192
"""Pieces whose part in the gates is kept: 19 megabytes."""


class Weights(NamedTuple):
    """The network. All matrices have the three gates side by side: reset, update, new."""

    pieces: NDArray[np.int8]
    """A row for each piece, shape (pieces, width)."""
    scales: Floats
    """What one unit of a row is worth, shape (pieces, 1)."""
    inner: Floats
    """From a piece to the gates, shape (width, 3 * states)."""
    inner_bias: Floats
    outer: Singles
    """From the state to the gates, shape (states, 3 * states)."""
    outer_bias: Singles
    head: Floats
    """From the state to the logit of harm, shape (states,)."""


class Moves(NamedTuple):
    """What `cell` multiplies a state with, which it holds in steps; each a matrix of its own.

    Halved, as a sigmoid is (tanh(x / 2) + 1) / 2; by powers of two, so that no digit changes.
    """

    gates: Singles
    """To the reset and the update gate, shape (states, 2 * states)."""
    new: Singles
    """To what is new, shape (states, states)."""
    new_bias: Singles


def moves(weights: Weights) -> Moves:
    """Return the weights between states as `cell` reads them."""
    states = len(weights.head)
    outer = weights.outer / np.float32(2 * STEPS)
    return Moves(
        np.ascontiguousarray(outer[:, : 2 * states]),
        np.ascontiguousarray(outer[:, 2 * states :]),
        weights.outer_bias[2 * states :] / np.float32(2),
    )


class Said(NamedTuple):
    """What pieces say to the gates: rows of two tables, and the rows of the pieces in question."""

    gates: Singles
    """Halved, and with both biases; shape (rows, 2 * states)."""
    new: Singles
    rows: NDArray[np.int64]


class Given:
    """What pieces say to the gates; kept for the last few thousand, as few make up most text."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._states = len(weights.head)
        self._places = np.full(len(weights.pieces), -1, np.int64)
        self._lock = Lock()
        self._clear()

    def _clear(self) -> None:
        """Begin new tables; whoever reads the old ones still has them."""
        self._gates: Singles = np.empty((KEPT, 2 * self._states), np.float32)
        self._new: Singles = np.empty((KEPT, self._states), np.float32)
        self._places.fill(-1)
        self._used = 0

    def of(self, numbers: NDArray[np.int64]) -> Said:
        """Return what each piece says."""
        if len(numbers) > KEPT // 4:
            return Said(*self._computed(numbers), np.arange(len(numbers)))
        # Threads share the tables, and hold them for a millisecond or two at most.
        with self._lock:
            places = self._places[numbers]
            if places.min(initial=0) < 0:
                self._learn(numbers, places)
                places = self._places[numbers]
            return Said(self._gates, self._new, places)

    def _learn(self, numbers: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        new = np.unique(numbers[places < 0])
        if self._used + len(new) > KEPT:
            self._clear()
            new = np.unique(numbers)
        end = self._used + len(new)
        self._gates[self._used : end], self._new[self._used : end] = self._computed(new)
        self._places[new] = np.arange(self._used, end)
        self._used = end

    def _computed(self, numbers: NDArray[np.int64]) -> tuple[Singles, Singles]:
        weights, split = self._weights, 2 * self._states
        said: Floats = weights.pieces[numbers].astype(np.float64) @ weights.inner
        said *= weights.scales[numbers]
        said += weights.inner_bias
        said[:, :split] += weights.outer_bias[:split]
        said[:, :split] /= 2
        return said[:, :split].astype(np.float32), said[:, split:].astype(np.float32)


def unpack(data: bytes) -> Weights:
    """Read the network from the bytes of a safetensors file.

    Raises:
        BackendError: The bytes are not such a file, or the shapes do not fit together.
    """
    try:
        tensors = Tensors(data)
        found = Weights(*(_exact(name, tensors[name]) for name in Weights._fields))
        width, states = found.pieces.shape[1], len(found.head)
        fits = (
            found.inner.shape == (width, 3 * states)
            and found.outer.shape == (states, 3 * states)
            and found.inner_bias.shape == found.outer_bias.shape == (3 * states,)
            and found.scales.shape == (len(found.pieces), 1)
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BackendError(f"not a safetensors file with a monitor: {error}") from error
    if not fits:
        raise BackendError("the matrices of the monitor do not fit together")
    return found


def _exact(name: str, rows: NDArray[Any]) -> Any:  # noqa: ANN401 - of several types
    """Round what a file holds to the steps that its sums are whole in."""
    if name == "pieces":
        return rows
    if name == "outer":
        return _single(rows)
    exact = np.rint(rows.astype(np.float64) * FINE) / FINE
    if name == "outer_bias":
        return exact.astype(np.float32)
    return exact[:, None] if name == "scales" else exact


def _single(rows: Singles) -> Singles:
    """Round weights so that float32 holds their sums with states, which are 1 at most, whole."""
    if not np.isfinite(rows).all():
        raise ValueError("a weight is no number")
    steps = FINE
    while True:
        exact: Singles = np.rint(rows * steps)
        exact /= steps
        if np.abs(exact).sum(axis=0, dtype=np.float64).max() * steps * STEPS <= WHOLE:
            return exact
        steps /= 2


def cell(moves: Moves, said: Said, rows: NDArray[np.int64], h: Singles) -> Singles:
    """Return the states after one piece each.

    Args:
        moves: The weights between states.
        said: What pieces say to the gates.
        rows: Which of its rows are read, one for each state.
        h: The states, in steps of 1 / `STEPS`, shape (rows, states).
    """
    width = h.shape[1]
    gates: Singles = h @ moves.gates
    gates += said.gates.take(rows, 0)
    np.tanh(gates, out=gates)
    gates += 1.0  # twice the sigmoid
    new: Singles = h @ moves.new
    new += moves.new_bias
    new *= gates[:, :width]
    new += said.new.take(rows, 0)
    np.tanh(new, out=new)
    new *= STEPS
    kept = h - new
    kept *= gates[:, width:]
    kept *= 0.5
    new += kept
    return np.rint(new, out=new)

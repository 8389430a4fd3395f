"""A small recurrent network that reads growing texts word by word; answers `Advance`.

What a text leaves behind is a vector of a few hundred bytes, so a step costs the same at the first
word and at the ten-thousandth, a state is a value like any other, and streams of many requests go
through one product of matrices. The cell is a gated recurrent unit (Cho et al. 2014, arXiv
1406.1078; the reset gate after the product, as in cuDNN). NumPy alone.

Sums come out the same in any order (`cell.py`), so no verdict hangs on who shares the batch.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence, Sized
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from balustrade import shipped
from balustrade.backends.cell import (
    STEPS,
    Floats,
    Given,
    Moves,
    Singles,
    Weights,
    cell,
    moves,
    unpack,
)
from balustrade.backends.pieces import Pieces
from balustrade.core.call import Advance, Advanced, Call, Failed, Heard, Onward, Reply
from balustrade.core.errors import BackendError, BalustradeError
from balustrade.text.growing import Word, every, whole
from balustrade.text.normalise import normalise

ON_LOOP = 4_000
"""Characters that may be read on the event loop: a few milliseconds' work where texts share it."""

ALONE = 600
"""The same for one text, which is read a piece at a time."""

REQUEST = 600
"""Characters of each end of a request that are read before its answer."""


class State(Struct, frozen=True, gc=False):
    """Where the reading of one answer is."""

    memory: bytes
    """The network's vector, int16, in steps of 1/1024."""
    open: str = ""
    """What was given and is no whole word yet."""
    start: int = 0
    """Where `open` begins in the answer."""


class Recurrent:
    """Answers for a shipped monitor; weights and vocabulary are read when first asked.

    Args:
        name: The model, as `shipped.describe` knows it.
        folder: Where its files lie.
    """

    def __init__(self, name: str = "monitor", folder: Path = shipped.HERE) -> None:
        self._name = name
        self._folder = folder

    def send(self, calls: tuple[Call, ...], /) -> list[Reply]:
        """Answer each call, in order; a call that cannot be answered is a `Failed`."""
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer the same; more than a moment's work goes to a thread."""
        sizes = [size for call in calls if isinstance(call, Advance) for size in _sizes(call)]
        if sum(sizes) <= ON_LOOP and max(sizes, default=0) <= ALONE:
            return self.send(calls)
        return await asyncio.to_thread(self.send, calls)

    def load(self) -> None:
        """Read weights and vocabulary now."""
        _ = self._moves, self._pieces, self._given

    def read(
        self, states: Sequence[State | str], chunks: Sequence[str], *, ends: bool = False
    ) -> list[Advanced]:
        """Read on in answers.

        Args:
            states: Where each is, or before its first chunk the request it answers.
            chunks: What came since.
            ends: Whether the answers end here.
        """
        begun = self._begun(states)
        taken = [_taken(s, c, ends=ends) for s, c in zip(begun, chunks, strict=True)]
        fed = [slot for slot, (words, _, _) in enumerate(taken) if words]
        runs = [[self._pieces.numbers(word.text) for word in taken[slot][0]] for slot in fed]
        memories = self._memories([begun[slot].memory for slot in fed])
        trails = self._run(memories, [[*chain.from_iterable(own)] for own in runs])
        scores = iter(self._scores(trails, runs))
        rows, size = memories.tobytes(), memories.shape[1] * 2
        moved = {slot: rows[n * size : (n + 1) * size] for n, slot in enumerate(fed)}
        found: list[Advanced] = []
        for slot, (state, (words, rest, start)) in enumerate(zip(begun, taken, strict=True)):
            if not words:
                found.append(Advanced(State(state.memory, rest, start), (), start))
                continue
            at = state.start
            heard = [Heard(at + word.start, at + word.end, next(scores)) for word in words]
            found.append(Advanced(State(moved[slot], rest, start), (*heard,), start))
        return found

    def _begun(self, states: Sequence[State | str]) -> list[State]:
        """Return states, with the requests of those that were none yet read."""
        new = [slot for slot, state in enumerate(states) if isinstance(state, str)]
        found = [state if isinstance(state, State) else State(b"") for state in states]
        if new:
            memories = np.zeros((len(new), len(self._weights.head)), np.int16)
            known = self._description
            marks = Marks(known.begin, known.end)
            self._run(memories, [asked(self._pieces, str(states[slot]), marks) for slot in new])
            for slot, memory in zip(new, memories, strict=True):
                found[slot] = State(memory.tobytes())
        width = len(self._weights.head)
        if any([len(state.memory) != width * 2 for state in found]):
            raise BackendError(f"model {self._name!r}: a state is not one of its own")
        return found

    def _memories(self, memories: Sequence[bytes]) -> NDArray[np.int16]:
        width = len(self._weights.head)
        return np.frombuffer(bytearray(b"".join(memories)), np.int16).reshape(-1, width)

    def _run(
        self, memories: NDArray[np.int16], numbers: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Read pieces into memories, in place; return each text's logits after each piece."""
        trails: list[list[float]] = [[] for _ in numbers]
        order = sorted(range(len(numbers)), key=lambda slot: -len(numbers[slot]))
        for first in range(0, len(order), TOGETHER):
            some = order[first : first + TOGETHER]
            h: Singles = memories[some].astype(np.float32)
            for start in range(0, len(numbers[some[0]]), BLOCK):
                parts = [numbers[slot][start : start + BLOCK] for slot in some]
                for slot, logits in zip(some, self._block(h, parts), strict=True):
                    trails[slot] += logits
            memories[some] = h
        return trails

    def _block(self, h: Singles, parts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Move states on by some pieces each, in place; the longest part comes first.

        States are in steps of 1 / `STEPS`. Returns logits after each piece.
        """
        moves = self._moves
        live = [len(part) for part in parts]
        said = self._given.of(np.fromiter(chain.from_iterable(parts), np.int64, sum(live)))
        starts = np.cumsum([0, *live[:-1]])
        trail: list[Singles] = []
        firsts: list[int] = []
        size = 0
        for step in range(live[0]):
            while live[-1] <= step:
                live.pop()
            count = len(live)
            moved = cell(moves, said, said.rows[starts[:count] + step], h[:count])
            h[:count] = moved
            trail.append(moved)
            firsts.append(size)
            size += count
        states = np.concatenate(trail) if trail else h[:0]
        logits: list[float] = (states.astype(np.float64) @ self._head).tolist()
        return [
            [logits[first + slot] for first in firsts[: len(part)]]
            for slot, part in enumerate(parts)
        ]

    def _scores(
        self, trails: Sequence[Sequence[float]], runs: Sequence[Sequence[Sized]]
    ) -> list[float]:
        """Return the probability of harm at the last piece of each word of each text, in order.

        A word without pieces, which nothing but marks make up, has none of its own: it scores 0.
        """
        said: list[float] = []
        for trail, own in zip(trails, runs, strict=True):
            end = 0
            for run in own:
                end += len(run)
                said.append(trail[end - 1] if run else -np.inf)
        head = self._description.heads[0]
        logits = np.array(said) + head.bias
        scores = 1.0 / (1.0 + np.exp(-(logits * head.slope + head.offset)))
        found: list[float] = scores.round(DECIMALS).tolist()
        return found

    def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Advance):
            verb = type(call).__name__.lower()
            return Failed(f"model {self._name!r} reads growing texts, and was asked to {verb}")
        if len(call.states) != len(call.chunks):
            return Failed(f"{len(call.states)} states were given for {len(call.chunks)} chunks")
        try:
            return Onward(tuple(self.read(call.states, call.chunks, ends=call.ends)))
        except BalustradeError as error:
            return Failed(str(error))

    @cached_property
    def _description(self) -> shipped.Description:
        return shipped.describe(self._name, self._folder)

    @cached_property
    def _pieces(self) -> Pieces:
        known = self._description
        path = self._folder / known.tokenizer
        return Pieces(gzip.decompress(shipped.checked(self._name, path, known.tokenizer_sha256)))

    @cached_property
    def _weights(self) -> Weights:
        return unpack(shipped.weights(self._name, self._folder))

    @cached_property
    def _moves(self) -> Moves:
        return moves(self._weights)

    @cached_property
    def _head(self) -> Floats:
        """From a state in steps to the logit of harm."""
        return self._weights.head / STEPS

    @cached_property
    def _given(self) -> Given:
        return Given(self._weights)


TOGETHER = 128
"""Texts that are read on in one product of matrices."""

BLOCK = 128
"""Pieces of each text that are read before their scores are: bounds memory, whatever the length."""

DECIMALS = 4
"""Of a score."""


class Marks(NamedTuple):
    """Numbers of the marks before a request, and between it and its answer."""

    begin: int
    end: int


def asked(pieces: Pieces, request: str, marks: Marks) -> list[int]:
    """Return what is read before an answer: of a long request its beginning and its end."""
    if len(request) > 2 * REQUEST:
        request = f"{request[:REQUEST]} … {request[-REQUEST:]}"
    return [marks.begin, *pieces.numbers(normalise(request).text), marks.end]


def _taken(state: State, chunk: str, *, ends: bool) -> tuple[list[Word], str, int]:
    """Return the words of what was open that are whole now, what stays open, and where it is."""
    text = state.open + chunk
    words = every(text) if ends else whole(text)
    cut = words[-1].end if words else 0
    rest = text[cut:].lstrip()
    return words, rest, state.start + len(text) - len(rest)


def _sizes(call: Advance) -> list[int]:
    """Return how many characters are to be read of each text, with its request if it is new."""
    return [
        len(chunk) + (min(len(state), 2 * REQUEST) if isinstance(state, str) else 0)
        for state, chunk in zip(call.states, call.chunks, strict=False)
    ]

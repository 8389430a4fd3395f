"""The static tier: n-grams name rows of a table of small integers, summed, and read by heads.

Rows are summed as integers, so that neither batch nor order can move a bit; characters and words
apart, each sum divided by the root of its count. An answer is judged together with the request it
answers: the table's last column reads the request, and its sum joins the answer's logit. NumPy
alone; a short text takes tens of microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from balustrade import shipped
from balustrade.backends.ngrams import fold
from balustrade.backends.table import Table, unpack
from balustrade.core.call import Call, Classify, Failed, Reply, Vectors
from balustrade.core.errors import BalustradeError
from balustrade.core.taxonomy import RESPONSE_HARM

BLOCK = 16_384
"""Characters hashed at once: a block's arrays stay in the second-level cache (measured)."""

REMEMBERED = 512
"""Short texts whose reading as a request is kept, because their answers are judged next."""

SHORT = 2_000
"""Characters a text may have to be kept."""

ON_LOOP = 20_000
"""Characters that may be judged on the event loop: about a millisecond's work."""


class Static:
    """Answers `Classify` from a shipped table, loaded when first asked.

    Args:
        name: The model, as `shipped.describe` knows it.
        folder: Where its files lie.
    """

    def __init__(self, name: str = "static", folder: Path = shipped.HERE) -> None:
        self._name = name
        self._folder = folder
        self._read: dict[str, float] = {}

    def send(self, calls: tuple[Call, ...], /) -> list[Reply]:
        """Answer each call, in order; a call that cannot be answered is a `Failed`."""
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer the same; more than a moment's work goes to a thread."""
        size = sum(len(text) for call in calls if isinstance(call, Classify) for text in call.texts)
        if size <= ON_LOOP:
            return self.send(calls)
        return await asyncio.to_thread(self.send, calls)

    def scores(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> NDArray[np.float32]:
        """Return calibrated probabilities, shape (texts, heads).

        Args:
            texts: What is judged.
            contexts: What each text answers, empty if nothing; or none at all.
        """
        logits = self.logits(texts, contexts)
        slopes, offsets = self._calibration
        # No float32 tells e**-700 from zero, and e**710 would overflow.
        against = np.minimum(-(logits * slopes + offsets), 700.0)
        return (1.0 / (1.0 + np.exp(against))).astype(np.float32)

    def logits(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> NDArray[np.float64]:
        """Return what the heads say before calibration, shape (texts, heads)."""
        description, table = self._model
        scales, biases = self._scales
        asked = [slot for slot, context in enumerate(contexts) if context]
        folded = [fold(text) for text in texts]
        requests = [fold(contexts[slot]) for slot in asked]
        fresh = [request for request in dict.fromkeys(requests) if request not in self._read]
        # One pass for texts and requests: its fixed cost is most of that of a single text.
        pooled = _pool(table, [*folded, *fresh])
        logits = pooled[: len(texts), : len(biases)] * scales[: len(biases)] + biases
        if asked:
            known = dict(zip(fresh, pooled[len(texts) :, -1].tolist(), strict=True))
            read = [known[r] if r in known else self._read[r] for r in requests]
            answers = description.labels.index(RESPONSE_HARM)
            logits[asked, answers] += np.array(read) * scales[-1]
        else:
            self._remember(folded, pooled[:, -1].tolist())
        return logits

    def _remember(self, folded: Sequence[str], read: Sequence[float]) -> None:
        """Keep what short texts say as requests: one comes back when its answer is judged."""
        for text, value in zip(folded[:REMEMBERED], read, strict=False):
            if len(text) <= SHORT:
                self._read[text] = value
        while len(self._read) > REMEMBERED:
            self._read.pop(next(iter(self._read)), None)

    def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Classify):
            return Failed(f"model {self._name!r} classifies, and was asked to {_verb(call)}")
        if call.contexts and len(call.contexts) != len(call.texts):
            return Failed(f"{len(call.contexts)} contexts were given for {len(call.texts)} texts")
        try:
            labels = self._model[0].labels
            scores = self.scores(call.texts, call.contexts)
        except BalustradeError as error:
            return Failed(str(error))
        return Vectors(scores.tobytes(), len(labels), labels)

    @cached_property
    def _model(self) -> tuple[shipped.Description, Table]:
        description = shipped.describe(self._name, self._folder)
        return description, Table(unpack(shipped.weights(self._name, self._folder)))

    @cached_property
    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        description = self._model[0]
        biases = np.array([head.bias for head in description.heads])
        return np.array(description.scales), biases

    @cached_property
    def _calibration(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        heads = self._model[0].heads
        return np.array([h.slope for h in heads]), np.array([h.offset for h in heads])


def _pool(table: Table, folded: Sequence[str]) -> NDArray[np.float64]:
    """Sum each text's rows over the roots of their counts, block by block."""
    pooled = np.empty((len(folded), table.columns))
    for first, last in _blocks(folded):
        sums, counts = table.sums(folded[first:last])
        np.add.reduce(sums / np.sqrt(counts)[:, :, None], axis=0, out=pooled[first:last])
    return pooled


def _blocks(folded: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut a batch so that a block stays near `BLOCK` characters, however long its texts are."""
    first = size = 0
    for place, text in enumerate(folded):
        if size and size + len(text) > BLOCK:
            yield first, place
            first, size = place, 0
        size += len(text)
    if first < len(folded):
        yield first, len(folded)


def _verb(call: Call) -> str:
    return type(call).__name__.lower()

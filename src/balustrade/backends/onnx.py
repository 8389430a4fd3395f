"""The encoder tier: an int8 transformer read by ONNX Runtime; answers `Classify` and `Embed`.

A text is cut into overlapping windows of tokens; of each label the worst window counts. An answer
is read together with the request it answers. Texts are sorted by length before they are padded,
and each batch runs on one core: several batches of one call run side by side.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from balustrade import shipped
from balustrade.backends.pieces import Pieces
from balustrade.core.call import Call, Classify, Embed, Failed, Reply, Vectors
from balustrade.core.errors import BalustradeError
from balustrade.core.registry import require

Floats = NDArray[np.float32]

BATCH = 2_048
"""Tokens of a batch, padding included: its arrays stay in the second-level cache (measured)."""


class Window(NamedTuple):
    """A stretch of tokens of one text, with what it answers before it."""

    text: int
    pieces: list[int]
    segments: int
    """Tokens before this place belong to the request."""


class Onnx:
    """Answers for a shipped encoder; graph and vocabulary are read when first asked.

    Args:
        name: The model, as `shipped.describe` knows it.
        folder: Where its files lie.
        workers: Batches that run at once; as many as there are cores, at most four, if 0.
    """

    def __init__(
        self, name: str = "encoder", folder: Path = shipped.HERE, workers: int = 0
    ) -> None:
        self._name = name
        self._folder = folder
        self._workers = workers or min(4, os.cpu_count() or 1)

    def send(self, calls: tuple[Call, ...], /) -> list[Reply]:
        """Answer each call, in order; a call that cannot be answered is a `Failed`."""
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer the same in a thread: milliseconds would hold up the loop."""
        return await asyncio.to_thread(self.send, calls)

    def scores(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> Floats:
        """Return calibrated probabilities, shape (texts, heads).

        Args:
            texts: What is judged.
            contexts: What each text answers, empty if nothing; or none at all.
        """
        logits = self.logits(texts, contexts)
        heads = self._description.heads
        slopes = np.array([head.slope for head in heads])
        offsets = np.array([head.offset for head in heads])
        against = np.minimum(-(logits * slopes + offsets), 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(against)), np.float32)

    def logits(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> Floats:
        """Return what the heads say before calibration, of each head the worst window's."""
        return self.raw(texts, contexts)[0]

    def raw(
        self, texts: Sequence[str], contexts: Sequence[str] = ()
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return `logits`, and the number of the language each text's last window is taken for."""
        found = np.full((len(texts), len(self._description.heads)), -np.inf, np.float32)
        spoken = np.zeros(len(texts), np.int64)
        for windows, (logits, speech) in self._run(texts, contexts, ["logits", "language"]):
            heard = speech.argmax(axis=1)
            moved = logits + self._offsets[heard]
            for window, row, language in zip(windows, moved, heard, strict=True):
                np.maximum(found[window.text], row, out=found[window.text])
                spoken[window.text] = language
        return found, spoken

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return the mean of each text's windows, of length one, shape (texts, width)."""
        found = np.zeros((len(texts), self._description.width), np.float32)
        for windows, (rows,) in self._run(texts, (), ["vector"]):
            for window, row in zip(windows, rows, strict=True):
                found[window.text] += row
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)

    def _answer(self, call: Call) -> Reply:
        try:
            match call:
                case Classify(texts=texts, contexts=contexts):
                    if contexts and len(contexts) != len(texts):
                        return Failed(f"{len(contexts)} contexts for {len(texts)} texts")
                    labels = self._description.labels
                    return Vectors(self.scores(texts, contexts).tobytes(), len(labels), labels)
                case Embed(texts=texts):
                    rows = self.vectors(texts)
                    return Vectors(rows.tobytes(), self._description.width)
                case _:
                    verb = type(call).__name__.lower()
                    return Failed(f"model {self._name!r} classifies, and was asked to {verb}")
        except BalustradeError as error:
            return Failed(str(error))

    def _run(
        self, texts: Sequence[str], contexts: Sequence[str], outputs: list[str]
    ) -> Iterator[tuple[list[Window], list[Floats]]]:
        """Run all windows of all texts, those of like length together."""
        batches = list(_batches(self._windows(texts, contexts)))
        if len(batches) == 1:
            yield batches[0], self._forward(batches[0], outputs)
            return
        results = self._pool.map(lambda batch: self._forward(batch, outputs), batches)
        yield from zip(batches, results, strict=True)

    def _forward(self, windows: Sequence[Window], outputs: list[str]) -> list[Floats]:
        time = max(len(window.pieces) for window in windows)
        pieces = np.zeros((len(windows), time), np.int64)
        segments = np.zeros((len(windows), time), np.int64)
        mask = np.zeros((len(windows), time), np.float32)
        for row, window in enumerate(windows):
            size = len(window.pieces)
            pieces[row, :size] = window.pieces
            segments[row, window.segments : size] = 1
            mask[row, :size] = 1
        feed = {"pieces": pieces, "segments": segments, "mask": mask}
        return cast("list[Floats]", self._session.run(outputs, feed))

    def _windows(self, texts: Sequence[str], contexts: Sequence[str]) -> Iterator[Window]:
        """Cut each text's tokens into windows that overlap by a quarter."""
        known = self._description
        numbers = self._pieces.numbers
        room = known.window - 2
        step = room - room // 4
        for number, text in enumerate(texts):
            ids = numbers(text)
            before = [known.begin]
            if contexts and contexts[number]:
                asked = numbers(contexts[number])[: known.request - 2]
                before = [known.begin, *asked, known.end]
            where = len(before) if len(before) > 1 else known.window + known.request
            for start in range(0, max(len(ids) - room + step, 1), step):
                yield Window(number, [*before, *ids[start : start + room], known.end], where)

    @cached_property
    def _description(self) -> shipped.Description:
        return shipped.describe(self._name, self._folder)

    @cached_property
    def _offsets(self) -> Floats:
        """What is added to each head's logit, by the language a text is taken for."""
        return np.array([language.offsets for language in self._description.languages], np.float32)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, "encoder")

    @cached_property
    def _session(self) -> Any:  # noqa: ANN401 - the runtime is optional, so unknown to the types
        runtime = require(f"model {self._name!r}", "onnxruntime")
        # From bytes it would hold them a second time: 23 MB.
        return session(runtime, str(shipped.weights_at(self._name, self._folder)))

    @cached_property
    def _pieces(self) -> Pieces:
        known = self._description
        data = shipped.checked(self._name, self._folder / known.tokenizer, known.tokenizer_sha256)
        return Pieces(gzip.decompress(data))

    def load(self) -> None:
        """Read graph and vocabulary now, not with the first text."""
        _ = self._pieces, self._session

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False)


def _batches(windows: Iterator[Window]) -> Iterator[list[Window]]:
    """Put windows of like length together, at most `BATCH` tokens at once."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda window: len(window.pieces)):
        if batch and len(window.pieces) * (len(batch) + 1) > BATCH:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def session(runtime: Any, graph: str | bytes) -> Any:  # noqa: ANN401 - it has no types
    """Open a graph of ours, on one thread.

    Args:
        runtime: The module `onnxruntime`.
        graph: A file's path, or what it holds.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without AVX-512 VNNI, sums of two products would else be cut off at 16 bits: other scores than
    # elsewhere, and worse ones. Where VNNI is, this changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

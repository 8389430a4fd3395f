"""Find the known examples that a text is most like, as a model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from balustrade.core.call import Classify, Embed, Flow, Vectors, compute, unexpected
from balustrade.core.errors import BackendError, DataError
from balustrade.core.registry import require
from balustrade.core.taxonomy import HARM, INJECTION, NAME_OF, RESPONSE_HARM, TOXICITY
from balustrade.data.example import Example, Kind
from balustrade.data.jsonl import files, read
from balustrade.data.known import known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64
"""Examples that a model is asked for at once, so that no round takes long."""

MOST = 20_000
"""Examples that are compared at most; of more, the first."""

LONGEST = 1_000
"""Characters of an example that are compared and shown."""

_OF_KIND = {
    Kind.TOXICITY: TOXICITY,
    Kind.INJECTION: INJECTION,
    Kind.RESPONSE: RESPONSE_HARM,
}

Way: TypeAlias = Literal["meaning", "scores"]
"""Examples are like a text in meaning, or, for models without `Embed`, in all their scores."""


class Neighbour(Struct, frozen=True):
    """A known example, and how like it a text is."""

    id: str
    text: str
    label: Literal["safe", "unsafe"]
    categories: tuple[str, ...]
    lang: str
    similarity: float
    """The cosine, in [-1, 1]."""


class Near(Struct, frozen=True):
    """The nearest known examples, nearest first, and in what they are like the text."""

    by: Way
    examples: tuple[Neighbour, ...]


class Known:
    """Known examples, with what each model makes of them, asked once and kept.

    Serves any number of tasks and threads: where two ask at once, both get the same.

    Args:
        examples: In the order in which equals are named.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = tuple(examples[:MOST])
        self._seen: dict[tuple[str, Way], _Space] = {}

    @classmethod
    def at(cls, path: str | Path) -> Known:
        """Return the examples of a JSONL file, or of a folder of them; our own if empty.

        Raises:
            DataError: A file cannot be read, or there is no row.
        """
        if not path:
            return cls(known())
        rows = (row for file in files(Path(path)) for row in read(file))
        found = tuple(islice(rows, MOST))
        if not found:
            raise DataError(f"{path}: expected known examples, found no row")
        return cls(found)

    def nearest(self, model: str, text: str, count: int = 3) -> Flow[Near]:
        """Return the examples that a text is most like, exactly.

        Args:
            model: Compared by its `Embed`, or, if it has none, by its `Classify`: then examples
                are alike for which every label scores alike.
            text: What is compared.
            count: How many are wanted.

        Raises:
            BackendError: The model answers neither.
            MissingExtraError: NumPy is not installed.
        """
        if not self.examples:
            return Near("meaning", ())
        require("the search for known examples", "numpy")
        way, seen = yield from _seen(model, text)
        space = self._seen.get((model, way))
        if space is None:
            space = yield from self._space(model, way)
            self._seen[model, way] = space
        work = len(self.examples) * seen.columns
        found: list[tuple[int, float]] = yield from compute(
            _search, _Search(space, seen, count), work=work
        )
        return Near(way, tuple(_neighbour(self.examples[n], score) for n, score in found))

    def _space(self, model: str, way: Way) -> Flow[_Space]:
        kind = Embed if way == "meaning" else Classify
        data, columns = [], 0
        for first in range(0, len(self.examples), BATCH):
            some = self.examples[first : first + BATCH]
            texts = tuple(each.judged[:LONGEST] for each in some)
            [reply] = yield (kind(model, texts),)
            if not isinstance(reply, Vectors):
                raise unexpected(reply)
            columns = reply.columns
            if len(reply.data) != 4 * columns * len(texts):
                raise BackendError(f"model {model!r} did not answer for every known example")
            data.append(reply.data)
        vectors = Vectors(b"".join(data), columns)
        space: _Space = yield from compute(_spread, (vectors, way), work=len(vectors.data))
        return space


class _Space(NamedTuple):
    """The examples as unit vectors, and what makes other vectors comparable with them."""

    rows: NDArray[np.float32]
    middle: NDArray[np.float64]
    scale: NDArray[np.float64]
    way: Way


class _Search(NamedTuple):
    space: _Space
    seen: Vectors
    wanted: int


def _seen(model: str, text: str) -> Flow[tuple[Way, Vectors]]:
    """Return the text as the model sees it: its vector if it has one, else its scores."""
    [reply] = yield (Embed(model, (text,)),)
    if isinstance(reply, Vectors):
        return "meaning", reply
    [reply] = yield (Classify(model, (text,)),)
    if isinstance(reply, Vectors):
        return "scores", reply
    raise unexpected(reply)


def _spread(asked: tuple[Vectors, Way]) -> _Space:
    """Make vectors comparable: scores as logits, each label counting as much as any other."""
    import numpy as np  # noqa: PLC0415 - an extra

    from balustrade.store.vectors import unit  # noqa: PLC0415 - needs it

    vectors, way = asked
    rows = _plain(vectors, way)
    if way == "meaning":
        middle, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    else:
        middle, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return _Space(unit(((rows - middle) / scale).astype(np.float32)), middle, scale, way)


def _search(asked: _Search) -> list[tuple[int, float]]:
    import numpy as np  # noqa: PLC0415 - an extra

    from balustrade.store.vectors import nearest, unit  # noqa: PLC0415 - needs it

    space = asked.space
    row = (_plain(asked.seen, space.way) - space.middle) / space.scale
    found = nearest(space.rows, unit(row.astype(np.float32)), asked.wanted)
    similar = np.clip(found.similarities[0], -1.0, 1.0)
    return list(zip(found.numbers[0].tolist(), similar.tolist(), strict=True))


def _plain(vectors: Vectors, way: Way) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415 - an extra

    flat = np.frombuffer(vectors.data, np.float32).astype(np.float64)
    rows = flat.reshape(-1, vectors.columns)
    if way == "meaning":
        return rows
    bounded = np.clip(rows, 2.0**-25, 1.0 - 2.0**-25)
    logits: NDArray[np.float64] = np.log(bounded / (1.0 - bounded))
    return logits


def _neighbour(example: Example, similarity: float) -> Neighbour:
    return Neighbour(
        example.id,
        example.judged[:LONGEST],
        example.label,
        _categories(example),
        example.lang,
        similarity,
    )


def _categories(example: Example) -> tuple[str, ...]:
    """Return what an example is unsafe by, in our names; none if it is safe."""
    if not example.is_unsafe:
        return ()
    named = tuple(NAME_OF[code] for code in example.hazards if code in NAME_OF)
    return named or (_OF_KIND.get(example.kind, HARM),)

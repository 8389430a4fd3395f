"""Both tiers as one. The cascade: the static tier scores all, the encoder what it is unsure of.

A text is clear if no main head of the static tier reaches its limit (`Gate.clear`, set by
`train/cascade.py`) in any stretch of it: that tier weighs all words alike, so that fourteen calm
sentences would bury an order among them (harm 0.99 alone, 0.005 there). Of a clear text the static
scores are kept, pressed below every threshold: their order stays, and no rule fires. About
everything else the encoder is asked, and about each text of a `careful` call: what a tool returned
or a page says is read for the order that may hide in it. There both tiers count, for they err on
other texts: the logit is a mean of theirs, weighed by `Gate.blend`. The ensemble is the same with
limits of 0, so that no text is clear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade import shipped
from balustrade.backends.onnx import Onnx
from balustrade.backends.static import ON_LOOP, Static
from balustrade.core.call import Call, Classify, Failed, Reply, Vectors
from balustrade.core.errors import BackendError, BalustradeError
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.text.windows import windows

Floats = NDArray[np.float32]

STRETCH, SHARED = 240, 60
"""Characters that the static tier is asked about at once, and those that neighbours share."""

MOST = 80.0
"""Log odds beyond which float32 holds no odds."""

BELOW = 1.0 - 1e-6
"""Keeps a product under its bound, however float32 rounds it."""


class Settled(NamedTuple):
    """What the static tier makes of a call: its scores, and the texts it leaves to the encoder."""

    rows: Floats
    """The cascade's, shape (texts, heads); not meant to be read where the text is left open."""
    found: Floats
    """The static tier's own, shape (texts, its heads)."""
    unsure: NDArray[np.intp]


class Columns(NamedTuple):
    """Which column of which tier is which."""

    shared: list[int]
    """Of the static tier: heads that the cascade has too."""
    places: list[int]
    """Where those stand in the cascade."""
    encoder: list[int]
    """Of the encoder: all heads of the cascade, in order."""
    request: list[int]
    """Of the static tier: what decides whether a text that answers nothing is clear."""
    answer: list[int]
    """The same, of an answer."""


class Blend(NamedTuple):
    """How two probabilities become one: a number for each head, or one for all."""

    share: Floats | np.float32
    """The static tier's part in the logit."""
    slope: Floats | np.float32
    offset: Floats | np.float32


class Tiers:
    """Answers `Classify` by two tiers, and `Embed` by the encoder; each is loaded when first asked.

    Args:
        name: The model, as `shipped.describe` knows it.
        folder: Where the files of all three models lie.
        static: The first tier, if it serves elsewhere too.
        encoder: The second, likewise.
    """

    def __init__(
        self,
        name: str = "cascade",
        folder: Path = shipped.HERE,
        *,
        static: Static | None = None,
        encoder: Onnx | None = None,
    ) -> None:
        self._name = name
        self._folder = folder
        self._static = static or Static("static", folder)
        self._encoder = encoder or Onnx("encoder", folder)

    def send(self, calls: tuple[Call, ...], /) -> list[Reply]:
        """Answer each call, in order; a call that cannot be answered is a `Failed`."""
        return [self._finish(call, self._begin(call)) for call in calls]

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer the same; the static tier's part on the loop if it is short, the rest off it."""
        size = sum(len(text) for call in calls if isinstance(call, Classify) for text in call.texts)
        if size > ON_LOOP:
            return await asyncio.to_thread(self.send, calls)
        begun = [self._begin(call) for call in calls]
        if any(each is None or (isinstance(each, Settled) and each.unsure.size) for each in begun):
            finish = partial(map, self._finish, calls, begun)
            return await asyncio.to_thread(lambda: list(finish()))
        return list(map(self._finish, calls, begun))

    def scores(
        self, texts: Sequence[str], contexts: Sequence[str] = (), *, careful: bool = False
    ) -> Floats:
        """Return calibrated probabilities, shape (texts, heads).

        Args:
            texts: What is judged.
            contexts: What each text answers, empty if nothing; or none at all.
            careful: Whether the encoder is asked about every text.
        """
        return self._decide(texts, contexts, self.settle(texts, contexts, careful=careful))

    def settle(
        self, texts: Sequence[str], contexts: Sequence[str] = (), *, careful: bool = False
    ) -> Settled:
        """Return what the static tier says alone, and what it is unsure of."""
        columns, floors = self._columns, self._floors
        found = worst(self._static, texts, contexts)
        over = found >= self._limits
        unsure = over[:, columns.request].any(axis=1)
        if contexts:
            answers = np.fromiter(map(bool, contexts), np.bool_, len(contexts))
            unsure = np.where(answers, over[:, columns.answer].any(axis=1), unsure)
        rows = np.zeros((len(texts), len(floors)), np.float32)
        rows[:, columns.places] = found[:, columns.shared] * floors[columns.places]
        return Settled(rows, found, np.flatnonzero(unsure | careful))

    def _begin(self, call: Call) -> Settled | Failed | None:
        """Do the static tier's part; None if the call is the encoder's alone."""
        if not isinstance(call, Classify):
            return None
        if call.contexts and len(call.contexts) != len(call.texts):
            return Failed(f"{len(call.contexts)} contexts were given for {len(call.texts)} texts")
        try:
            return self.settle(call.texts, call.contexts, careful=call.careful)
        except BalustradeError as error:
            return Failed(str(error))

    def _finish(self, call: Call, begun: Settled | Failed | None) -> Reply:
        """Do the encoder's part, if there is one."""
        if isinstance(begun, Failed):
            return begun
        if begun is None or not isinstance(call, Classify):
            return self._encoder.send((call,))[0]
        try:
            rows = self._decide(call.texts, call.contexts, begun)
        except BalustradeError as error:
            return Failed(str(error))
        labels = self._description.labels
        return Vectors(rows.tobytes(), len(labels), labels)

    def _decide(self, texts: Sequence[str], contexts: Sequence[str], settled: Settled) -> Floats:
        """Put the encoder's scores where the static tier is unsure."""
        rows, found, unsure = settled
        if unsure.size:
            columns = self._columns
            slots: list[int] = unsure.tolist()
            asked = [contexts[slot] for slot in slots] if contexts else []
            said = self._encoder.scores([texts[slot] for slot in slots], asked)
            both = said[:, columns.encoder]
            own = found[unsure][:, columns.shared]
            both[:, columns.places] = joined(both[:, columns.places], own, self._blend)
            rows[unsure] = both
        return rows

    @cached_property
    def _blend(self) -> Blend:
        """How the tiers are joined, of the heads they share."""
        places = self._columns.places
        heads = [self._description.heads[place] for place in places]
        return Blend(
            np.array([self._gate.blend[place] for place in places], np.float32),
            np.array([head.slope for head in heads], np.float32),
            np.array([head.offset for head in heads], np.float32),
        )

    @cached_property
    def _description(self) -> shipped.Description:
        return shipped.describe(self._name, self._folder)

    @cached_property
    def _gate(self) -> shipped.Gate:
        gate = self._description.gate
        if gate is None:
            raise BackendError(f"model {self._name!r}: its description has no gate")
        for tier, known in gate.tiers.items():
            found = shipped.fingerprint(tier, self._folder)
            if found != known:
                raise BackendError(
                    f"model {self._name!r}: its limits hold for a {tier!r} with digest {known}, "
                    f"found {found}"
                )
        return gate

    @cached_property
    def _columns(self) -> Columns:
        own = self._description.labels
        static = shipped.describe("static", self._folder).labels
        encoder = shipped.describe("encoder", self._folder).labels
        shared = [name for name in static if name in own]
        return Columns(
            [static.index(name) for name in shared],
            [own.index(name) for name in shared],
            [encoder.index(name) for name in own],
            [static.index(name) for name in self._gate.clear if name != RESPONSE_HARM],
            [static.index(RESPONSE_HARM)],
        )

    @cached_property
    def _limits(self) -> NDArray[np.float64]:
        """The score of each static head from which on the encoder is asked."""
        static = shipped.describe("static", self._folder).labels
        return np.array([self._gate.clear.get(name, np.inf) for name in static])

    @cached_property
    def _floors(self) -> Floats:
        return np.array([floor * BELOW for floor in self._gate.floors], np.float32)

    def load(self) -> None:
        """Read the encoder now, not with the first text that is not clear."""
        self._encoder.load()

    def close(self) -> None:
        """Let go of the encoder's threads."""
        self._encoder.close()


def joined(encoder: Floats, static: Floats, blend: Blend) -> Floats:
    """Return what both tiers together make of a text, from the probabilities of each."""
    return sigmoid(mixed(encoder, static, blend.share) * blend.slope + blend.offset)


def mixed(encoder: Floats, static: Floats, share: Floats | np.float32 | float) -> Floats:
    """Return the logits of two probabilities, weighed: `share` is the static tier's part."""
    return np.asarray((1 - share) * logit(encoder) + share * logit(static), np.float32)


def logit(probability: Floats) -> Floats:
    """Return log odds, of nothing surer than `EDGE`."""
    inside = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def sigmoid(logits: Floats) -> Floats:
    """Return the probability of log odds."""
    return np.asarray(1 / (1 + np.exp(np.minimum(-logits, MOST))), np.float32)


EDGE = 1e-6
"""A probability this close to 0 or 1 counts as this far from it."""


def worst(static: Static, texts: Sequence[str], contexts: Sequence[str] = ()) -> Floats:
    """Return each text's static scores, of each head the worst of the whole and its stretches."""
    if all(len(text) <= STRETCH for text in texts):
        return static.scores(texts, contexts)
    pieces: list[str] = []
    starts: list[int] = []
    for text in texts:
        starts.append(len(pieces))
        pieces.append(text)
        if len(text) > STRETCH:
            pieces += [text[first:last] for first, last in windows(text, STRETCH, SHARED)]
    counts = np.diff([*starts, len(pieces)])
    asked = np.repeat(np.array(contexts, object), counts).tolist() if contexts else ()
    found = static.scores(pieces, asked)
    return np.maximum.reduceat(found, starts, axis=0)

"""What the encoder says of texts that are still growing, for a monitor to learn to say the same.

Labelled answers are few, and mostly made or Chinese. The encoder judges answers of any kind,
because it was taught requests and posts of many languages as well. So texts of all kinds are shown
as answers, cut off after some of their words, and the monitor is taught, at those words, the
probability of harm that the encoder gives (distillation; `models/scm.echoed`). Nobody's label is
needed, and none is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from balustrade.backends.onnx import Onnx
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.data.example import Example, Kind
from balustrade.shipped import describe
from balustrade.text.growing import every

SHORTEST, LONGEST = 20, 800
"""Characters of a text that is shown, and that are read of one."""
REQUEST = 400
"""Characters of a request that are kept."""
CUTS = 2
"""Words of a text at most after which the encoder is asked; the last is one of them."""
AT_ONCE = 4_096
"""Texts that the encoder is given in one call."""
KINDS = (Kind.PROMPT, Kind.BENIGN, Kind.HARD_BENIGN, Kind.TOXICITY, Kind.INJECTION)


class Echo(NamedTuple):
    """A text shown as an answer, and what the encoder said of its beginnings."""

    request: str
    text: str
    said: dict[int, float]
    """For some words, by where they end: probability of harm of the text up to there."""


def shown(
    rows: Sequence[Example], answers: Sequence[Example], count: int, rng: Random
) -> list[tuple[str, str]]:
    """Return requests and texts: the answers, and as many other texts as are asked for.

    Kinds have equal parts. Half of the others come with the request of somebody else.
    """
    requests = [row.text for row in rows if row.kind in {Kind.PROMPT, Kind.BENIGN}]
    found = [(row.text, row.response) for row in answers if len(row.response) >= SHORTEST]
    for kind in KINDS:
        own = [row.text for row in rows if row.kind is kind and len(row.text) >= SHORTEST]
        some = rng.sample(own, min(len(own), count // len(KINDS)))
        found += [(rng.choice(requests) if rng.random() < 0.5 else "", text) for text in some]
    return [(request[:REQUEST], text[:LONGEST]) for request, text in found]


def echoes(texts: Sequence[tuple[str, str]], encoder: Onnx, rng: Random) -> list[Echo]:
    """Cut texts off after some of their words, and ask the encoder about each."""
    places: list[list[int]] = []
    for _, text in texts:
        ends = [word.end for word in every(text)]
        places.append(sorted({*rng.sample(ends, min(len(ends), CUTS - 1)), *ends[-1:]}))
    asked = [
        (request, text[:end])
        for (request, text), ends in zip(texts, places, strict=True)
        for end in ends
    ]
    column = describe("encoder").labels.index(RESPONSE_HARM)
    said: list[float] = []
    for first in range(0, len(asked), AT_ONCE):
        some = asked[first : first + AT_ONCE]
        scores = encoder.scores([text for _, text in some], [request for request, _ in some])
        said += scores[:, column].tolist()
    known = iter(said)
    return [
        Echo(request, text, {end: next(known) for end in ends})
        for (request, text), ends in zip(texts, places, strict=True)
    ]

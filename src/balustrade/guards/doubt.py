"""A stream in doubt: its words wait until a model of whole answers has spoken.

A monitor reads each word for microseconds and is wrong now and then; a model of whole answers reads
better, and for a thousand times as long. So the one points and the other is asked: once the
monitor's rule holds words for harmful, they stay back, a model of whole answers reads the answer up
to there, and the score that is reported is a mean of both logits. Calm streams never ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

from msgspec import Struct

from balustrade.core.call import Flow, classify
from balustrade.core.errors import BackendError
from balustrade.text.normalise import normalise

BEGUN = 12
"""Words of an answer before one is asked about, unless it has ended: of three words, a model of
whole answers judges little but the request."""

EVERY = 8
"""Words between two questions about a stream."""

READ = 400
"""Last characters of an answer that are read: of held-out answers harm is told better from so few
than from 1,500, in which what came before it drowns it, and they are one window of the encoder."""

REQUEST = 2_000
"""Characters of the request that are read with them."""

SECOND = 2.0
"""How much the second logit counts, where the monitor's counts one."""


class Doubt(Struct, frozen=True):
    """What a monitor holds against a stream since it was asked about last."""

    score: float
    """The highest score that its rule reported."""
    start: int
    """Where the first word begins that waits."""
    end: int
    """Where the last word ends that was judged."""


class Question(NamedTuple):
    """An answer so far, and the request it answers."""

    request: str
    answer: str


def opinions(model: str, label: str, asked: Sequence[Question]) -> Flow[list[float]]:
    """Ask a model of whole answers how surely each is harmful.

    Raises:
        BackendError: It does not answer, or has no such label.
    """
    answers = [normalise(each.answer).text for each in asked]
    requests = [normalise(each.request).text[:REQUEST] for each in asked]
    reply = yield from classify(model, answers, requests, careful=True)
    if label not in reply.labels:
        raise BackendError(
            f"model {model!r} cannot confirm {label!r}; it has: {', '.join(reply.labels)}"
        )
    column = reply.labels.index(label)
    return [row[column] for row in reply.rows()]


def confirmed(score: float, opinion: float) -> float:
    """Return one probability of two."""
    logit = (_logit(score) + SECOND * _logit(opinion)) / (1.0 + SECOND)
    return round(1.0 / (1.0 + exp(-logit)), 4)


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-4), 1.0 - 1e-4)
    return log(inside / (1.0 - inside))

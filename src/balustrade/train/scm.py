"""Teach a streaming content monitor: both heads at once, by the three-part loss.

Where a guard of whole answers was asked about growing ones, what it said is learnt, too.

Schedules: `cosine` by default. `paper` multiplies the rate by 0.99 after every optimiser step, as
the released code of arXiv 2506.09996 does: after 500 steps a 150th of it is left, so that most of
three epochs teach next to nothing. It is here for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, pi
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from balustrade.core.spec import Count, Positive, Probability, Spec
from balustrade.models.scm import HARMFUL, IGNORED, Monitor, Weights, echoed, loss

PAPER_DECAY = 0.99


class Lesson(NamedTuple):
    """An answer as the monitor reads it: the request first, whose tokens have no label."""

    pieces: Sequence[int]
    labels: Sequence[int]
    harmful: bool | None
    """Whether it is; None if nobody has said."""

    echo: Sequence[tuple[int, float]] = ()
    """Places at which a guard of whole answers was asked, each with the probability it gave."""


class Teaching(Spec, frozen=True):
    """How a monitor is taught."""

    alpha: Probability = 0.6
    beta: float = 1.0
    gamma: float = 1.0
    """How much it counts to say what a guard of whole answers said of the text so far."""

    rate: Positive = 1e-4
    epochs: Count = 3
    batch: Count = 8
    pool: Count = 1
    """Batches whose answers are sorted by length together, so that little is padding."""
    schedule: Literal["cosine", "paper"] = "cosine"
    longest: Count = 4_096
    """Tokens of an answer that are read, the request's included."""

    clip: Positive = 1.0
    seed: int = 42


def teach(
    model: Monitor, lessons: Sequence[Lesson], config: Teaching, *, told: int = 0
) -> list[float]:
    """Teach a monitor; return the loss of each step. Same seed and lessons, same weights.

    Args:
        model: What is taught, in place.
        lessons: What it learns from.
        config: How.
        told: Every so many steps it is said how far it is; 0 for never.
    """
    torch.manual_seed(config.seed)
    step_by = torch.optim.AdamW(model.parameters(), lr=config.rate)
    total = config.epochs * -(-len(lessons) // config.batch)
    weights = Weights(config.alpha, config.beta)
    losses: list[float] = []
    model.train()
    for batch in _epochs(lessons, config):
        for group in step_by.param_groups:
            group["lr"] = config.rate * share(config.schedule, len(losses), total)
        pieces, labels, mask, harmful, said = padded(batch, config.longest)
        scores = model(pieces, mask)
        value = loss(scores, labels, harmful, weights).whole
        value = value + config.gamma * echoed(scores, said)
        step_by.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        step_by.step()
        losses.append(value.item())
        if told and len(losses) % told == 0:
            mean = sum(losses[-told:]) / told
            print(f"teach {len(losses)}/{total}: {mean:.4f}", flush=True)
    model.eval()
    return losses


def share(schedule: str, step: int, total: int) -> float:
    """Return the share of the full rate at a step, counted from 0."""
    if schedule == "paper":
        return float(PAPER_DECAY**step)
    return 0.5 * (1 + cos(pi * step / max(1, total)))


def _epochs(lessons: Sequence[Lesson], config: Teaching) -> Iterator[list[Lesson]]:
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        order = rng.permutation(len(lessons))
        for start in range(0, len(order), config.batch * config.pool):
            some = order[start : start + config.batch * config.pool].tolist()
            if config.pool > 1:
                some.sort(key=lambda n: len(lessons[n].pieces))
            firsts = [*range(0, len(some), config.batch)]
            if config.pool > 1:
                rng.shuffle(firsts)
            for first in firsts:
                yield [lessons[n] for n in some[first : first + config.batch]]


class Padded(NamedTuple):
    """Lessons of one batch as tensors, padded behind."""

    pieces: Tensor
    labels: Tensor
    mask: Tensor
    harmful: Tensor
    said: Tensor
    """Of the text so far, by a guard of whole answers; not a number where it was not asked."""


def padded(batch: Sequence[Lesson], longest: int) -> Padded:
    """Return lessons as tensors, shape (batch, time); what is too long loses its end."""
    time = max(1, min(longest, max(len(lesson.pieces) for lesson in batch)))
    pieces = torch.zeros(len(batch), time, dtype=torch.long)
    labels = torch.full((len(batch), time), IGNORED)
    mask = torch.zeros(len(batch), time, dtype=torch.bool)
    said = torch.full((len(batch), time), torch.nan)
    for row, lesson in enumerate(batch):
        size = min(time, len(lesson.pieces))
        pieces[row, :size] = torch.tensor(lesson.pieces[:size])
        labels[row, :size] = torch.tensor(lesson.labels[:size])
        mask[row, :size] = True
        for place, value in lesson.echo:
            if place < size:
                said[row, place] = value
    known = (IGNORED if lesson.harmful is None else int(lesson.harmful) for lesson in batch)
    return Padded(pieces, labels, mask, torch.tensor([*known]), said)


@torch.inference_mode()
def token_scores(model: Monitor, lessons: Sequence[Lesson]) -> list[NDArray[np.float64]]:
    """Return the probability of harm at each answer token; the request is never scored."""
    found = []
    for lesson in lessons:
        pieces, _, mask, *_ = padded([lesson], len(lesson.pieces))
        scores = model.scores(pieces, mask)[0]
        first = answer_from(lesson)
        found.append(scores[first:].double().numpy())
    return found


@torch.inference_mode()
def prefix_scores(model: Monitor, lessons: Sequence[Lesson]) -> list[NDArray[np.float64]]:
    """Return what the holistic head says of each answer cut after each token.

    The naive way to watch a stream, by a head that was taught on whole answers.

    Raises:
        RuntimeError: The holistic head was taken off.
    """
    head = model.sequence_classifier
    if head is None:
        raise RuntimeError("the holistic head was taken off")
    found = []
    for lesson in lessons:
        pieces, _, mask, *_ = padded([lesson], len(lesson.pieces))
        # The backbone is causal, so the state at a token is that of the answer cut there.
        scores = head(model.backbone(pieces, mask)).softmax(dim=-1)[0, :, HARMFUL]
        found.append(scores[answer_from(lesson) :].double().numpy())
    return found


def answer_from(lesson: Lesson) -> int:
    """Return the place of the first token that has a label."""
    return next(
        (n for n, label in enumerate(lesson.labels) if label != IGNORED), len(lesson.labels)
    )

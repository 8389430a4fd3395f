"""Half the base's layers, taught to say of each token what all of them say.

Layers taken out of a deep model leave one that reads badly until it is taught again; the states of
the whole model are what it is taught by, token by token (Sanh et al. 2019, arXiv 1910.01108; Jiao
et al. 2020, arXiv 1909.10351, equation 8). Numbers of a state that hardly vary count as much as
those that do: each is measured by its own deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from time import monotonic

import torch
from tokenizers import Tokenizer
from torch import Tensor

from balustrade.models.encoder import Encoder
from balustrade.train.batching import Batch, batches, encoded, optimiser, warm
from balustrade.train.precision import sixteen_bits

BATCH = 4_096
"""Tokens of a step, padding included."""
POOL = 6_144
"""Texts that are sorted by length together."""
RATE = 5e-4
LONGEST = 160
"""Tokens of a text that are read."""


def distil(
    student: Encoder,
    teacher: Encoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    rate: float = RATE,
) -> None:
    """Teach a student on texts, each read once.

    Args:
        student: Layers and vectors of the teacher, fewer or coarser.
        teacher: Reads the same pieces.
        tokenizer: Cuts the texts.
        texts: In the order they are read.
        rate: The highest rate of the matrices; a third of it is that of the vectors.
    """
    rng = Random(0)
    sample = encoded(tokenizer, texts[::50], LONGEST)
    steps = max(1, int(sum(map(len, sample)) * 50 * 1.05 / BATCH))
    step_by = optimiser(student, rate, rate, rate / 3)
    wide = deviations(teacher, sample)
    student.train()
    started, mean = monotonic(), 0.0
    for step, batch in enumerate(_batches(tokenizer, texts, rng), 1):
        warm(step_by, min(step, steps), steps)
        value = loss(student, teacher, batch, wide)
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        step_by.step()
        step_by.zero_grad()
        mean += (float(value.detach()) - mean) / min(step, 50)
        if step % 20 == 0:
            print(f"distil {step}/{steps}: {mean:.4f}, {monotonic() - started:.0f} s", flush=True)


def _batches(tokenizer: Tokenizer, texts: Sequence[str], rng: Random) -> Iterator[Batch]:
    for first in range(0, len(texts), POOL):
        cut = list(batches(encoded(tokenizer, texts[first : first + POOL], LONGEST), most=BATCH))
        rng.shuffle(cut)
        yield from cut


def deviations(teacher: Encoder, tokens: Sequence[Sequence[int]]) -> Tensor:
    """Return how far each number of a token's state varies, shape (width,)."""
    teacher.eval()
    with torch.inference_mode(), sixteen_bits():
        states = [
            teacher.states(batch.pieces, batch.segments, batch.mask)[batch.mask].float()
            for batch in batches(tokens[:500], most=BATCH)
        ]
    return torch.cat(states).std(dim=0).clone()


def loss(student: Encoder, teacher: Encoder, batch: Batch, wide: Tensor) -> Tensor:
    """Return the mean square by which states differ, in the teacher's own deviations."""
    with torch.no_grad(), sixteen_bits():
        wanted = teacher.states(batch.pieces, batch.segments, batch.mask)[batch.mask].float()
    with sixteen_bits():
        states = student.states(batch.pieces, batch.segments, batch.mask)[batch.mask]
    return ((states.float() - wanted) / wide).square().mean()

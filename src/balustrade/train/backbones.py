"""Which backbone reads unfinished answers best: the same lessons, each taught alike.

    python -m balustrade.train.backbones --data ../shared/data/dev \
        --parallel ../shared/data/parallel --work build/encoder --out src/balustrade/shipped

In:   what `monitor.py` reads.
Out:  a table: for each backbone its parameters beside the piece vectors, how it does on held-out
      answers at the threshold that stops 1 % of long harmless ones, and tokens taught a second.
Time: about an hour on one CPU core, a third of it with fewer rows. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from balustrade.models import causal
from balustrade.models.convolution import Convolution
from balustrade.models.recurrent import Recurrent
from balustrade.models.scm import Monitor
from balustrade.train.arguments import parsed
from balustrade.train.calm import long_texts
from balustrade.train.monitor import (
    Config,
    Reader,
    begin_vectors,
    lessons_of,
    taught_by,
)
from balustrade.train.scm import Lesson, teach, token_scores
from balustrade.train.stopping import choose_stop


def transformer(vectors: Tensor, states: int) -> nn.Module:
    """Return two layers of attention, as wide as the piece vectors, that look 256 tokens back."""
    width = vectors.shape[1]
    model = causal.Causal(causal.Shape(len(vectors), width, 2, 4, 2 * states, 256))
    with torch.no_grad():
        model.piece.weight.copy_(vectors)
    return model


BACKBONES: dict[str, tuple[Callable[[Tensor, int], nn.Module], bool]] = {
    "recurrent": (Recurrent, True),
    "convolution": (Convolution, True),
    "transformer": (transformer, False),
}
"""What makes each, and whether its states are as wide as the configuration says."""


def main(config: Config) -> None:
    """Teach and measure each."""
    reader = Reader(Path(config.out))
    lessons, held = lessons_of(config, reader)
    answers = [row for row in held if row.prompt]
    by = By(
        [reader.lesson(row) for row in answers],
        np.array([row.is_harmful for row in answers]),
        [reader.plain(asked, text) for asked, text in long_texts(held, config.seed, 200)],
    )
    print("| backbone | parameters | macro-F1 | false stops | seen | tokens/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, (make, is_wide) in BACKBONES.items():
        torch.manual_seed(config.seed)
        vectors = begin_vectors(Path(config.work), config)
        model = Monitor(make(vectors, config.states), config.states if is_wide else config.width)
        started = monotonic()
        teach(model, lessons, taught_by(config))
        speed = config.epochs * sum(len(each.pieces) for each in lessons) / (monotonic() - started)
        print(f"| {name} | {measured(model, by, config)} | {speed:,.0f} |", flush=True)


class By(NamedTuple):
    """What backbones are measured by."""

    answers: list[Lesson]
    harmful: NDArray[np.bool_]
    calm: list[Lesson]
    """Long harmless answers."""


def measured(model: Monitor, by: By, config: Config) -> str:
    """Return the cells of one backbone."""
    streams, calm = token_scores(model, by.answers), token_scores(model, by.calm)
    found = choose_stop(streams, by.harmful, calm, config.aim).outcome
    count = sum(value.numel() for name, value in model.named_parameters() if "piece" not in name)
    return f"{count:,} | {found.macro_f1:.3f} | {found.false_stops:.3f} | {found.seen:.2f}"


if __name__ == "__main__":
    main(parsed(Config, "compare backbones of the stream monitor"))

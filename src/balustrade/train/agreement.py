"""How well the shipped encoder agrees with the float model it was made from, set by set.

    python -m balustrade.train.agreement --bench ../shared/data/bench --work build/encoder

Prints for each set the average precision of both, and the worst difference. Both read the piece
vectors in four bits, as they were taught to; the shipped one has its layers in eight. What it adds
to logits by language is taken away again: it is calibration, and the float model has none.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from balustrade.backends.onnx import Onnx
from balustrade.core.taxonomy import HARM, INJECTION, RESPONSE_HARM, TOXICITY
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.evals.metrics import average_precision
from balustrade.models.encoder import Encoder, Shape
from balustrade.shipped import HERE, describe
from balustrade.text.normalise import normalise
from balustrade.train.align import batches, encoded
from balustrade.train.encoder import KEPT, final
from balustrade.train.hearing import heard
from balustrade.train.targets import ENCODER_HEADS
from balustrade.train.teaching import WINDOW

JUDGE = {
    Kind.PROMPT: HARM,
    Kind.BENIGN: HARM,
    Kind.HARD_BENIGN: HARM,
    Kind.INJECTION: INJECTION,
    Kind.TOXICITY: TOXICITY,
    Kind.RESPONSE: RESPONSE_HARM,
}
"""The head that judges a row of each kind."""
CHARACTERS = 500
"""Read of each text, so that both read one window."""


def main(bench: Path, work: Path, folder: Path, most: int) -> float:
    """Print the table; return the largest difference in points of average precision."""
    weights = final(work, KEPT)
    pieces, width = weights["piece.weight"].shape
    layers = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    inner = len(weights["blocks.0.up.bias"])
    model = Encoder(Shape(pieces, len(ENCODER_HEADS), width, layers, width // 32, inner))
    model.load_state_dict(weights)
    model.is_coarse = True
    model.eval()
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    shipped = Onnx("encoder", folder)
    offsets = np.array([each.offsets for each in describe("encoder", folder).languages], np.float32)
    worst = 0.0
    print(
        "| set | rows | float | shipped | difference, points |\n| --- | ---: | ---: | ---: | ---: |"
    )
    for file in jsonl.files(bench):
        rows = [row for row in jsonl.read(file) if row.kind in JUDGE]
        rows = Random(0).sample(rows, min(len(rows), most))
        unsafe = np.array([row.is_unsafe for row in rows], np.bool_)
        if not unsafe.any() or unsafe.all():
            continue
        texts = [normalise(row.judged[:CHARACTERS]).text for row in rows]
        heads = np.full(len(rows), ENCODER_HEADS.index(asked(rows)))
        own = heard(judged(model, encoded(tokenizer, texts, WINDOW)))
        logits, spoken = shipped.raw(texts)
        theirs = logits - offsets[spoken]
        both = [_precision(rows, unsafe, scores, heads) for scores in (own, theirs)]
        difference = 100 * (both[1] - both[0])
        worst = max(worst, abs(difference))
        name = file.name.partition(".")[0]
        print(f"| {name} | {len(rows)} | {both[0]:.4f} | {both[1]:.4f} | {difference:+.2f} |")
    print(f"\nlargest difference: {worst:.2f} points")
    return worst


def asked(rows: Sequence[Example]) -> str:
    """Return the one head that judges all rows of a set, so that scores compare: by most unsafe."""
    kinds = Counter(row.kind for row in rows if row.is_unsafe)
    return JUDGE[kinds.most_common(1)[0][0]]


def _precision(
    rows: Sequence[Example],
    unsafe: NDArray[np.bool_],
    scores: NDArray[np.float32],
    heads: NDArray[np.int64],
) -> float:
    return average_precision(unsafe, scores[np.arange(len(rows)), heads]) or 0.0


def judged(model: Encoder, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the float model's logits, shape (texts, heads)."""
    found = np.zeros((len(tokens), model.shape.heads), np.float32)
    with torch.inference_mode():
        for batch in batches(tokens):
            found[batch.rows] = model(batch.pieces, batch.segments, batch.mask).numpy()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="compare the shipped encoder with the float one")
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/encoder"))
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--most", type=int, default=1_000, help="rows of each set")
    given = parser.parse_args()
    main(given.bench, given.work, given.folder, given.most)

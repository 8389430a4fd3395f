"""The static guard: one table of n-gram weights, every head learnt at once.

    python -m balustrade.train.static --data ../shared/data/dev \
        --parallel ../shared/data/parallel --out src/balustrade/shipped

In:   labelled rows (data/example.py) whose licences permit redistribution, parallel text, phrases
      and scenes of our own (corpus.py).
Out:  static.safetensors, static.json (heads, calibration, thresholds, digest), static.manifest.json
      (digest of each data file, code revision, config), static.metrics.json.
Time: about fifteen minutes on two CPU cores with the defaults. Same seed, same bytes.

Logistic regression by Adam on rows that `backends/ngrams.py` hashes, as serving does. Sources are
dealt into folds and each is scored by a table that never saw it: thresholds keep their promised
false-alarm rate on harmless text of unknown origin, not on more of the same. The shipped table
then learns from all sources but a held-out share of rows, which calibrates its probabilities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from balustrade.backends.ngrams import fold
from balustrade.backends.table import pack
from balustrade.core.spec import Count, Positive, Probability, Spec
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.data.example import Example, Kind
from balustrade.data.split import share_of
from balustrade.evals.calibrate import platt, promised, promises, threshold_at
from balustrade.shipped import Description, Head
from balustrade.text.normalise import normalise
from balustrade.train.arguments import parsed
from balustrade.train.corpus import OWN, Sizes, late
from balustrade.train.corpus import load as read_corpus
from balustrade.train.manifest import manifest, write_description, write_json
from balustrade.train.rows import sparse_rows
from balustrade.train.targets import HEADS, MAIN, Targets, balance, targets

Floats = NDArray[np.float32]

ANSWER, CONTEXT = HEADS.index(RESPONSE_HARM), len(HEADS)


class Config(Spec, frozen=True):
    """Everything the weights depend on, beside the data and the code."""

    data: str
    out: str
    parallel: str = ""  # a folder of parallel text; no scenes and sentences without it
    bits: Count = 18  # 2**18 rows of 19 bytes: 5 MB
    characters: Count = 2_000  # read of each text; a served window is shorter
    epochs: Count = 6
    batch: Count = 4_096
    rate: Positive = 0.02  # Adam's, after 20 steps of warming up, falling to zero
    decay: float = 1e-6  # weight decay, a step
    own: int = 1_500  # rows of each rule of our own grammar
    folds: Count = 2  # of sources, for the thresholds
    held_out: Probability = 0.08  # of the rows, for the calibration
    false_alarms: Probability = 0.02  # aim of a main head's default threshold
    hazard_false_alarms: Probability = 0.002  # the same of a hazard's: there are fourteen
    rates: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
    seed: int = 0


class Corpus(NamedTuple):
    """Rows, where they come from, and the two things the table reads of each."""

    examples: list[Example]
    stems: NDArray[np.str_]
    judged: csr_matrix
    context: csr_matrix
    known: Targets


class Weights(NamedTuple):
    """A table of shape (2**bits, heads + 1) and a bias for each head."""

    table: Floats
    bias: Floats


def main(config: Config) -> Description:
    """Train, calibrate and write; return the description that was written."""
    corpus = load(config)
    held = np.array([share_of(e.text + e.response) < config.held_out for e in corpus.examples])
    folds = deal(corpus, config)
    strange = np.zeros((len(held), len(HEADS)), np.float32)
    for number in range(config.folds):
        out = folds == number
        strange[out] = score(corpus, fit(corpus, ~out & ~held, config, f"fold {number}"))[out]
    weights = fit(corpus, ~held, config, "all sources")
    rows, scales = quantise(weights.table)
    familiar = score(corpus, Weights(rows * scales, weights.bias))
    heads = [
        calibrate(Evidence(corpus, head, familiar[:, head], strange[:, head], held), config)
        for head in range(len(HEADS))
    ]
    biased = [
        msgspec.structs.replace(head, bias=float(bias))
        for head, bias in zip(heads, weights.bias, strict=True)
    ]
    return write(config, rows, scales, biased)


def load(config: Config) -> Corpus:
    """Read every row that teaches something, and hash it."""
    found = read_corpus(
        Path(config.data), Path(config.parallel), Sizes(grammar=config.own, seed=config.seed)
    )
    more = late() if config.parallel else []
    pairs = [*zip(found.stems, found.rows, strict=True), *((row.source, row) for row in more)]
    known = targets([example for _, example in pairs])
    teaches = np.flatnonzero(known.weight.any(axis=1))
    examples = [pairs[row][1] for row in teaches]
    stems = np.array([pairs[row][0] for row in teaches])
    judged = [prepare(example.judged, config) for example in examples]
    asked = [prepare(e.text, config) if e.kind is Kind.RESPONSE else "" for e in examples]
    answers = diags([e.kind is Kind.RESPONSE for e in examples], dtype=np.float32)
    print(f"{len(examples)} rows of {len(set(stems))} sources", flush=True)
    return Corpus(
        examples,
        stems,
        sparse_rows(judged, config.bits),
        csr_matrix(answers @ sparse_rows(asked, config.bits)),
        Targets(known.truth[teaches], known.weight[teaches]),
    )


def prepare(text: str, config: Config) -> str:
    """Return the text as a guard would have it judged."""
    return fold(normalise(text).text)[: config.characters]


def deal(corpus: Corpus, config: Config) -> NDArray[np.int64]:
    """Deal the sources of each kind into folds, the largest first; return each row's fold."""
    home: dict[str, int] = {}
    stems, sizes = np.unique(corpus.stems, return_counts=True)
    first = {stem: corpus.examples[int(np.argmax(corpus.stems == stem))].kind for stem in stems}
    order = sorted(range(len(stems)), key=lambda i: (first[stems[i]], -sizes[i], stems[i]))
    for place, which in enumerate(order):
        home[str(stems[which])] = place % config.folds
    return np.array([home[str(stem)] for stem in corpus.stems])


def fit(corpus: Corpus, chosen: NDArray[np.bool_], config: Config, what: str) -> Weights:
    """Learn a table and biases from the chosen rows."""
    rows = np.flatnonzero(chosen)
    truth = corpus.known.truth[rows].astype(np.float32)
    weight = balance(Targets(truth > 0.5, corpus.known.weight[rows]), corpus.stems[rows])
    table = np.zeros((1 << config.bits, len(HEADS) + 1), np.float32)
    bias = np.full(len(HEADS), -1.0, np.float32)
    table_step, bias_step = Adam(table.shape), Adam(bias.shape)
    total = config.epochs * -(-len(rows) // config.batch)
    step = 0
    for epoch in range(config.epochs):
        loss = 0.0
        order = np.random.default_rng((config.seed, epoch)).permutation(len(rows))
        for first in range(0, len(order), config.batch):
            some = order[first : first + config.batch]
            judged, context = corpus.judged[rows[some]], corpus.context[rows[some]]
            logits = judged @ table[:, :CONTEXT] + bias
            logits[:, ANSWER] += context @ table[:, CONTEXT]
            chance = 1.0 / (1.0 + np.exp(-logits))
            error = weight[some] * (chance - truth[some]) / len(some)
            right = truth[some] * np.log(chance + 1e-9)
            right += (1 - truth[some]) * np.log(1 - chance + 1e-9)
            loss -= float((weight[some] * right).sum())
            slope = np.column_stack([judged.T @ error, context.T @ error[:, ANSWER]])
            step += 1
            rate = config.rate * min(1.0, step / 20) * (1 - step / (total + 1))
            table *= 1 - rate * config.decay
            table -= rate * table_step(slope)
            bias -= rate * bias_step(error.sum(axis=0))
        print(f"{what}: epoch {epoch + 1}, loss {loss / len(rows):.4f}", flush=True)
    table[0] = 0
    return Weights(table, bias)


class Adam:
    """Adam's direction (arXiv 1412.6980, algorithm 1), without the rate."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = np.zeros(shape, np.float32)
        self.square = np.zeros(shape, np.float32)
        self.step = 0

    def __call__(self, slope: Floats) -> Floats:
        """Take in a gradient and return the direction to go against."""
        self.step += 1
        self.mean += 0.1 * (slope - self.mean)
        self.square += 0.001 * (slope * slope - self.square)
        mean = self.mean / (1 - 0.9**self.step)
        spread = np.sqrt(self.square / (1 - 0.999**self.step)) + 1e-8
        return np.asarray(mean / spread, np.float32)


def score(corpus: Corpus, weights: Weights) -> Floats:
    """Return the logits of all rows, shape (rows, heads)."""
    logits = corpus.judged @ weights.table[:, :CONTEXT] + weights.bias
    logits[:, ANSWER] += corpus.context @ weights.table[:, CONTEXT]
    return np.asarray(logits, np.float32)


def quantise(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round each column to int8; return what one unit is worth.

    A few weights far out would make the unit coarse for all, so one in ten thousand is clipped.
    """
    limit = np.quantile(np.abs(table), 0.9999, axis=0)
    scales = np.maximum(limit / 127, 1e-9).astype(np.float32)
    return np.clip(np.rint(table / scales), -127, 127).astype(np.int8), scales


class Evidence(NamedTuple):
    """What one head says of all rows: the shipped table's, and one's that never saw the source."""

    corpus: Corpus
    head: int
    familiar: Floats
    strange: Floats
    held: NDArray[np.bool_]


def calibrate(seen: Evidence, config: Config) -> Head:
    """Fit a head's probabilities on held-out rows, its thresholds on harmless unknown sources.

    Sources and both answers weigh alike in the fit, so that a probability of one half means that
    the text is as likely one as the other where neither is rarer.
    """
    name, corpus = HEADS[seen.head], seen.corpus
    truth, weight = corpus.known
    column = Targets(truth[seen.held, seen.head, None] > 0.5, weight[seen.held, seen.head, None])
    share = balance(column, corpus.stems[seen.held], harmless=1.0)[:, 0]
    counts = share > 0
    curve = platt(seen.familiar[seen.held][counts], column.truth[counts, 0], share[counts])
    wanted = {Kind.RESPONSE} if name == RESPONSE_HARM else {Kind.BENIGN, Kind.HARD_BENIGN}
    harmless = np.array([e.kind in wanted and not e.is_unsafe for e in corpus.examples])
    for own in OWN:
        harmless &= ~np.char.startswith(corpus.stems, own)
    scores = curve(seen.strange[harmless])
    thresholds = promises(config.rates, lambda rate: threshold_at(scores, rate))
    aim = config.false_alarms if name in MAIN else config.hazard_false_alarms
    return Head(name, 0.0, curve.slope, curve.offset, promised(thresholds, aim), thresholds)


def write(
    config: Config, rows: NDArray[np.int8], scales: Floats, heads: Sequence[Head]
) -> Description:
    """Write weights, description and manifest."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    data = pack(rows)
    (out / "static.safetensors").write_bytes(data)
    description = Description(
        "static",
        "static.safetensors",
        hashlib.sha256(data).hexdigest(),
        tuple(heads),
        config.false_alarms,
        bits=config.bits,
        columns=(*HEADS, "context"),
        scales=tuple(float(scale) for scale in scales),
    )
    write_description(out, description)
    write_json(out / "static.manifest.json", manifest(config, Path(config.data)))
    return description


if __name__ == "__main__":
    main(parsed(Config, "train the static guard"))

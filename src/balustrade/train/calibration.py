"""Make a taught encoder ready to ship: quantised, calibrated for each head and language, described.

Probabilities are fitted on rows that were held out of training (Platt). Thresholds are conformal
(Vovk et al. 2005; `evals/calibrate.threshold_at`): the k-th largest score of n harmless texts,
k = floor(rate * (n + 1)), so a new text like them is flagged with at most that probability,
whatever n is. Before that, the logits of each language the encoder takes texts for are moved, so
that everyday requests (`everyday/`) lie as high in it as in all others. Those were written to one
brief and compare; public rows do not, being other kinds of text in each language
(docs/adr/0022).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from balustrade.backends.onnx import Onnx
from balustrade.core.taxonomy import REFUSAL, RESPONSE_HARM
from balustrade.data.example import Example, Kind
from balustrade.evals.calibrate import platt, promised, promises, strictest, threshold_at
from balustrade.models.encoder import Encoder
from balustrade.shipped.describe import Description, Head, Language
from balustrade.train import everyday, vocabulary
from balustrade.train.align import encoded
from balustrade.train.corpus import OWN, Corpus, held_out
from balustrade.train.export import Speech, graph, ranges
from balustrade.train.hearing import shares
from balustrade.train.manifest import manifest, write_description, write_json
from balustrade.train.targets import ENCODER_HEADS, MAIN, Targets, balance, targets
from balustrade.train.teaching import REQUEST, WINDOW

if TYPE_CHECKING:
    from balustrade.train.encoder import Config

Floats = NDArray[np.float32]

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
AIM = 0.005
"""The rate of the default thresholds of the four main heads: texts of sources that were not trained
on alarm several times as often as held-out ones of those that were."""
HAZARD_AIM = 0.002
LEVEL = 0.5
"""Share of a language's everyday requests above the height that is common to all: of some hundred
rows the median is known far better than a tail."""
SAMPLE = 6_000
"""Texts of each language that its pieces are counted in."""
ENOUGH = 150
"""Harmless texts of a language from which on its own height counts for more than that of all."""


class Seen(NamedTuple):
    """Rows for the calibration, their sources, what the shipped graph says of them."""

    rows: list[Example]
    stems: NDArray[np.str_]
    logits: Floats
    speech: NDArray[np.int64]
    harmless: NDArray[np.bool_]


def ship(model: Encoder, tokenizer: Tokenizer, corpus: Corpus, config: Config) -> Description:
    """Quantise, calibrate, and write everything that ships."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    model.is_coarse = True
    model.eval()
    rng = np.random.default_rng(config.seed)
    speech = languages_of(tokenizer, corpus, rng)
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    some = rng.choice(len(corpus.rows), min(600, len(corpus.rows)), replace=False)
    texts = encoded(tokenizer, [corpus.rows[n].judged[:600] for n in some], 128)
    limits = ranges(model, texts)
    made = graph(weights, model.shape, limits, speech, shares())
    data = made.SerializeToString(deterministic=True)
    (out / "encoder.onnx").write_bytes(data)
    pieces = gzip.compress(tokenizer.to_str().encode(), 9, mtime=0)
    (out / "encoder.tokenizer.json.gz").write_bytes(pieces)
    plain = [Head(name, 0.0, 1.0, 0.0, 0.5, {"0.01": 0.5}) for name in ENCODER_HEADS]
    described = Description(
        "encoder",
        "encoder.onnx",
        hashlib.sha256(data).hexdigest(),
        tuple(plain),
        AIM,
        tokenizer="encoder.tokenizer.json.gz",
        tokenizer_sha256=hashlib.sha256(pieces).hexdigest(),
        window=WINDOW,
        request=REQUEST,
        width=model.shape.width,
        begin=vocabulary.CLS,
        end=vocabulary.SEP,
        languages=tuple(Language(name, ()) for name in speech.names),
    )
    described = calibrate(described, corpus, out)
    write_json(out / "encoder.manifest.json", manifest(config, Path(config.data)))
    return described


def calibrate(known: Description, corpus: Corpus, out: Path) -> Description:
    """Fit probabilities, thresholds and languages of the graph in a folder; describe it there."""
    names = [language.name for language in known.languages]
    zero = tuple([0.0] * len(known.heads))
    plain = msgspec.structs.replace(known, languages=tuple(Language(name, zero) for name in names))
    write_description(out, plain)
    seen = look(Onnx("encoder", out), corpus)
    offsets = np.round(heights(seen, len(names)), 4)
    moved = seen._replace(logits=seen.logits + offsets[seen.speech])
    described = msgspec.structs.replace(
        known,
        heads=tuple(calibrated(moved, number) for number in range(len(ENCODER_HEADS))),
        languages=tuple(
            Language(name, tuple(round(float(value), 4) for value in row))
            for name, row in zip(names, offsets, strict=True)
        ),
    )
    write_description(out, described)
    return described


def languages_of(tokenizer: Tokenizer, corpus: Corpus, rng: np.random.Generator) -> Speech:
    """Count which pieces stand in which language; a text is of the language most of it is for.

    The encoder itself was trained to forget the language, so its vectors cannot tell.
    """
    by_lang: dict[str, list[str]] = {}
    for row in corpus.rows:
        if row.lang and not row.source.startswith("scene-"):
            by_lang.setdefault(row.lang, []).append(row.judged[:200])
    for pair in corpus.pairs:
        by_lang.setdefault(pair.lang, []).append(pair.other)
    names = sorted(lang for lang, texts in by_lang.items() if len(texts) >= ENOUGH)
    pieces = tokenizer.get_vocab_size()
    share = np.zeros((len(names), pieces))
    tests: list[tuple[int, list[int]]] = []
    for number, name in enumerate(names):
        texts = by_lang[name]
        chosen = rng.choice(len(texts), min(SAMPLE, len(texts)), replace=False)
        tokens = encoded(tokenizer, [texts[n] for n in chosen], 96)
        tests += [(number, ids[1:-1]) for ids in tokens[: len(tokens) // 10]]
        counts = np.bincount(
            [piece for ids in tokens[len(tokens) // 10 :] for piece in ids], minlength=pieces
        )
        share[number] = (counts + 0.01) / (counts.sum() + 0.01 * pieces)
    language = share.argmax(axis=0)
    rest = share.sum(axis=0) - share.max(axis=0)
    weight = np.maximum(np.log(share.max(axis=0) / rest), 0.0).astype(np.float16)
    speech = Speech(names, language.astype(np.uint8), weight)
    right = [
        np.bincount(language[ids], weight[ids], len(names)).argmax() == number
        for number, ids in tests
        if ids
    ]
    print(f"languages: {len(names)}, {np.mean(right):.1%} told apart", flush=True)
    return speech


def look(model: Onnx, corpus: Corpus) -> Seen:
    """Ask the shipped graph about every row that was held out."""
    rows, stems, texts, asked = held_out(corpus)
    logits, speech = model.raw(texts, asked)
    ordinary = {Kind.BENIGN, Kind.HARD_BENIGN}
    return Seen(
        rows,
        np.array(stems),
        logits,
        speech,
        np.array([row.kind in ordinary and not row.is_unsafe for row in rows]),
    )


def heights(seen: Seen, count: int) -> Floats:
    """Return what to add to each head's logit for each language, shape (languages, heads).

    Heads of answers are left where they are: harmless answers in English lie 2.7 lower than others
    in the median, and as high as they at the upper end, where thresholds are (docs/adr/0023).
    """
    alike = seen.harmless & np.char.startswith(seen.stems, everyday.SOURCE)
    if not alike.any():
        alike = seen.harmless
    everyone = np.quantile(seen.logits[alike], 1 - LEVEL, axis=0)
    found = np.zeros((count, seen.logits.shape[1]), np.float32)
    for number in range(count):
        some = seen.logits[alike & (seen.speech == number)]
        if len(some) >= 30:
            trust = len(some) / (len(some) + ENOUGH)
            own = np.quantile(some, 1 - LEVEL, axis=0)
            found[number] = trust * np.minimum(everyone - own, 2.0)
    found[:, OF_ANSWERS] = 0.0
    return found


OF_ANSWERS = [ENCODER_HEADS.index(name) for name in (RESPONSE_HARM, REFUSAL)]
"""Heads that judge answers."""


def calibrated(seen: Seen, head: int) -> Head:
    """Fit one head's probabilities and set its thresholds."""
    name = ENCODER_HEADS[head]
    known = targets(seen.rows, ENCODER_HEADS)
    column = Targets(known.truth[:, head, None], known.weight[:, head, None])
    share = balance(column, seen.stems, harmless=1.0)[:, 0]
    counts = share > 0
    logits = seen.logits[:, head]
    curve = platt(logits[counts], column.truth[counts, 0], share[counts])
    harmless = seen.harmless
    if name == RESPONSE_HARM:
        harmless = np.array([r.kind is Kind.RESPONSE and not r.is_unsafe for r in seen.rows])
    # As they are served: a threshold between two scores that are one in float32 keeps no promise.
    scores = curve(logits).astype(np.float32)
    thresholds = limits(scores, harmless, seen.stems)
    return Head(name, 0.0, curve.slope, curve.offset, default(name, thresholds), thresholds)


def default(name: str, thresholds: Mapping[str, float]) -> float:
    """Return a head's default threshold: that of the lowest rate promised from its aim on.

    1 if no rate can be promised.
    """
    return promised(thresholds, AIM if name in MAIN else HAZARD_AIM)


def limits(
    scores: Floats, harmless: NDArray[np.bool_], stems: NDArray[np.str_]
) -> dict[str, float]:
    """Return the threshold for each rate that can be promised, from harmless public rows.

    Of rows too few for a rate no threshold keeps it but one that nothing reaches; a head with such
    a threshold would look as if it guarded.

    The promise holds for rows held out of public sources, and for everyday ones where there are
    any: the higher threshold counts. Sources weigh by the root of their size, so that the easy
    ones, which are the largest, do not decide alone; our own made rows do not count at all.
    """
    public = harmless.copy()
    for own in OWN:
        public &= ~np.char.startswith(stems, own)
    if not public.any():
        public = harmless
    daily = public & np.char.startswith(stems, everyday.SOURCE)
    kinds = [some for some in (public & ~daily, daily) if some.any()] or [public]
    return strictest([_limits(scores[some], stems[some]) for some in kinds])


def _limits(scores: Floats, stems: NDArray[np.str_]) -> dict[str, float]:
    _, source, sizes = np.unique(stems, return_inverse=True, return_counts=True)
    weights = sizes[source] ** -0.5
    return promises(RATES, lambda rate: threshold_at(scores, rate, weights))

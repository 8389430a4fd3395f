"""Make a taught encoder ready to ship: quantised, calibrated for each head and language, described.

Probabilities are fitted on rows that were held out of training (Platt). Thresholds are conformal
(Vovk et al. 2005; `evals/calibrate.threshold_at`): the k-th largest score of n harmless texts,
k = floor(rate * (n + 1)), so a new text like them is flagged with at most that probability,
whatever n is. Texts are grouped by the language the encoder takes them for, a function of the text
alone, and each group's logits are moved so that its harmless texts reach as high as all others'
(Mondrian conformal prediction: one guarantee a group).
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812

from balustrade.backends.onnx import Onnx
from balustrade.core.taxonomy import HARM, INJECTION, RESPONSE_HARM, TOXICITY
from balustrade.data.example import Example, Kind
from balustrade.evals.calibrate import platt, threshold_at
from balustrade.models.encoder import Encoder
from balustrade.shipped.describe import Description, Head, Language
from balustrade.text.normalise import normalise
from balustrade.train import vocabulary
from balustrade.train.align import encoded, vectors
from balustrade.train.corpus import Corpus, is_held_out
from balustrade.train.export import graph, ranges
from balustrade.train.manifest import manifest
from balustrade.train.targets import ENCODER_HEADS, Targets, balance, targets

if TYPE_CHECKING:
    from balustrade.train.encoder import Config

Floats = NDArray[np.float32]

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
AIM = 0.01
"""The rate of the default thresholds of the four main heads."""
HAZARD_AIM = 0.002
MAIN = frozenset({HARM, INJECTION, TOXICITY, RESPONSE_HARM})
LEVEL = 0.02
"""The rate at which the languages are brought to one height."""
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
    names, table, bias = languages_of(model, tokenizer, corpus, rng)
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    weights |= {"language.weight": table, "language.bias": bias}
    some = rng.choice(len(corpus.rows), min(600, len(corpus.rows)), replace=False)
    texts = encoded(tokenizer, [corpus.rows[n].judged[:600] for n in some], 128)
    limits = ranges(model, texts)
    data = graph(weights, model.shape, limits).SerializeToString(deterministic=True)
    (out / "encoder.onnx").write_bytes(data)
    pieces = gzip.compress(tokenizer.to_str().encode(), 9, mtime=0)
    (out / "encoder.tokenizer.json.gz").write_bytes(pieces)
    plain = [Head(name, 0.0, 1.0, 0.0, 0.5, {"0.01": 0.5}) for name in ENCODER_HEADS]
    zero = tuple([0.0] * len(plain))
    from balustrade.train.encoder import REQUEST, WINDOW  # noqa: PLC0415 - it calls this module

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
        languages=tuple(Language(name, zero) for name in names),
    )
    _write(out / "encoder.json", described)
    seen = look(Onnx("encoder", out), corpus)
    offsets = np.round(heights(seen, len(names)), 4)
    moved = seen._replace(logits=seen.logits + offsets[seen.speech])
    heads = tuple(calibrated(moved, number) for number in range(len(ENCODER_HEADS)))
    described = msgspec.structs.replace(
        described,
        heads=heads,
        languages=tuple(
            Language(name, tuple(round(float(value), 4) for value in row))
            for name, row in zip(names, offsets, strict=True)
        ),
    )
    _write(out / "encoder.json", described)
    _write(out / "encoder.manifest.json", manifest(config, Path(config.data)))
    return described


def languages_of(
    model: Encoder, tokenizer: Tokenizer, corpus: Corpus, rng: np.random.Generator
) -> tuple[list[str], Floats, Floats]:
    """Fit which language a text's vector is of; return names, weights and biases.

    Softmax regression on vectors of rows, phrases and ordinary sentences, alike in number.
    """
    by_lang: dict[str, list[str]] = {}
    for row in corpus.rows:
        by_lang.setdefault(row.lang, []).append(row.judged[:200])
    names = sorted(lang for lang, texts in by_lang.items() if lang and len(texts) >= 300)
    texts: list[str] = []
    truth: list[int] = []
    for number, name in enumerate(names):
        chosen = rng.choice(len(by_lang[name]), min(700, len(by_lang[name])), replace=False)
        texts += [by_lang[name][n] for n in chosen]
        truth += [number] * len(chosen)
    found = torch.from_numpy(vectors(model, encoded(tokenizer, texts, 96)))
    wanted = torch.tensor(truth)
    weight = torch.zeros(len(names), found.shape[1], requires_grad=True)
    bias = torch.zeros(len(names), requires_grad=True)
    step_by = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        step_by.zero_grad()
        value = F.cross_entropy(found @ weight.T + bias, wanted) + 1e-5 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return value

    step_by.step(closure)  # type: ignore[no-untyped-call]  # torch has no types here
    right = ((found @ weight.T + bias).argmax(dim=1) == wanted).float().mean()
    print(f"languages: {len(names)}, {float(right):.1%} told apart", flush=True)
    return names, weight.detach().numpy(), bias.detach().numpy()


def look(model: Onnx, corpus: Corpus) -> Seen:
    """Ask the shipped graph about every row that was held out."""
    held = [number for number, row in enumerate(corpus.rows) if is_held_out(row)]
    rows = [corpus.rows[number] for number in held]
    texts = [normalise(row.judged[:1_500]).text for row in rows]
    asked = [normalise(row.text[:1_500]).text if row.kind is Kind.RESPONSE else "" for row in rows]
    logits, speech = model.raw(texts, asked)
    ordinary = {Kind.BENIGN, Kind.HARD_BENIGN}
    return Seen(
        rows,
        np.array([corpus.stems[number] for number in held]),
        logits,
        speech,
        np.array([row.kind in ordinary and not row.is_unsafe for row in rows]),
    )


def heights(seen: Seen, count: int) -> Floats:
    """Return what to add to each head's logit for each language, shape (languages, heads)."""
    everyone = np.quantile(seen.logits[seen.harmless], 1 - LEVEL, axis=0)
    found = np.zeros((count, seen.logits.shape[1]), np.float32)
    for number in range(count):
        some = seen.logits[seen.harmless & (seen.speech == number)]
        if len(some) >= 30:
            trust = len(some) / (len(some) + ENOUGH)
            own = np.quantile(some, 1 - LEVEL, axis=0)
            found[number] = trust * np.minimum(everyone - own, 2.0)
    return found


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
    scores = curve(logits[harmless]).astype(np.float32)
    thresholds = {str(rate): min(threshold_at(scores, rate), 1.0) for rate in RATES}
    aim = AIM if name in MAIN else HAZARD_AIM
    return Head(name, 0.0, curve.slope, curve.offset, thresholds[str(aim)], thresholds)


def _write(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")

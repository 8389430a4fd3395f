"""The cascade and the ensemble: how both tiers judge as one, and with which thresholds.

    python -m balustrade.train.cascade --data ../shared/data/dev \
        --parallel ../shared/data/parallel --out src/balustrade/shipped

In:   both tiers, in `--out`; the rows that were held out of the training of both.
Out:  cascade.json and ensemble.json (limits, heads, thresholds), and a manifest of each.
Time: a few minutes on one CPU core. Same weights and rows, same bytes.

The ensemble asks both tiers about every text, the cascade asks the encoder where the static tier is
unsure: if any main head of that tier reaches its limit. The limits are chosen together: of all that
keep the share of ordinary texts that are asked about, those that lose the smallest share of what
the encoder rightly finds. Where several lose as little, the rest of the share is spread over the
heads: texts unlike these rows are safer asked about. Each head's candidates are `LEVELS` quantiles
of ordinary texts, and all combinations are counted at once, as sums over corners of one histogram.
Sources weigh by the root of their size. Where both tiers are asked, both count (`PART`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from balustrade.backends.onnx import Onnx
from balustrade.backends.static import Static
from balustrade.backends.tiers import BELOW, Blend, joined, mixed, worst
from balustrade.core.spec import Probability, Spec
from balustrade.core.taxonomy import HARM, INJECTION, REFUSAL, RESPONSE_HARM, TOXICITY
from balustrade.data.example import Example, Kind
from balustrade.evals.calibrate import Platt, platt
from balustrade.shipped import Description, Gate, Head, describe, fingerprint
from balustrade.train import everyday
from balustrade.train.arguments import parsed
from balustrade.train.calibration import default, limits
from balustrade.train.corpus import Corpus, Sizes, held_out, load
from balustrade.train.manifest import manifest, write_description, write_json
from balustrade.train.targets import ENCODER_HEADS, Targets, balance, targets

Floats = NDArray[np.float32]
Weight: TypeAlias = NDArray[np.float64]

REQUEST = (HARM, INJECTION, TOXICITY)
ANSWER = (RESPONSE_HARM,)
"""What decides whether a text is clear: one that answers nothing, and an answer."""
LEVELS = 64
"""Limits that are tried for each head."""
TIE = 1e-4
"""What spreading the share is worth, in what is lost: next to nothing."""
QUIET = 0.9
"""Of clear texts, the share whose encoder scores lie below a head's floor."""
LEAST = 1e-6
"""A floor under which float32 could no longer tell scores apart."""


ASKED = 0.25
"""Share of ordinary texts that the encoder may be asked about."""


class Config(Spec, frozen=True):
    """Everything the limits depend on, beside the weights of both tiers and the data."""

    data: str
    parallel: str
    out: str
    asked: Probability = ASKED
    seed: int = 0


class Seen(NamedTuple):
    """Held-out rows, their weights, what both tiers say, and what there is to find."""

    rows: list[Example]
    stems: NDArray[np.str_]
    weight: NDArray[np.float64]
    static: Floats
    encoder: Floats
    found: NDArray[np.bool_]
    """Whether the encoder rightly finds something, at the thresholds it is shipped with."""

    def only(self, some: NDArray[np.bool_]) -> Seen:
        """Return some of the rows."""
        rows = [row for row, chosen in zip(self.rows, some, strict=True) if chosen]
        return Seen(
            rows,
            self.stems[some],
            self.weight[some],
            self.static[some],
            self.encoder[some],
            self.found[some],
        )

    @property
    def ordinary(self) -> NDArray[np.bool_]:
        """Rows like those that a server sees all day: harmless talk, and harmless answers.

        Everyday answers are none: of nearly all of them the static tier is unsure, and limits that
        spared most of them would lose 6 % of what the encoder finds in answers.
        """
        daily = np.char.startswith(self.stems, everyday.SOURCE)
        usual = {Kind.BENIGN, Kind.RESPONSE}
        calm = np.array([row.kind in usual and not row.is_unsafe for row in self.rows])
        told = np.array([row.kind is Kind.RESPONSE for row in self.rows])
        return np.asarray(calm & ~(told & daily), np.bool_)


class Choice(NamedTuple):
    """A limit for each head, and the shares they lead to."""

    limits: tuple[float, ...]
    asked: float
    lost: float


def main(config: Config) -> None:
    """Read the rows, set the limits, write."""
    make(config, load(Path(config.data), Path(config.parallel), Sizes(seed=config.seed)))


def make(config: Config, corpus: Corpus) -> None:
    """Set the limits of both models by rows that were held out; write them and their manifests."""
    out = Path(config.out)
    static, encoder = Static("static", out), Onnx("encoder", out)
    found = fit(static, encoder, corpus, out, share=config.asked)
    for known in found:
        write_json(out / f"{known.name}.manifest.json", manifest(config, Path(config.data)))


def fit(
    static: Static, encoder: Onnx, corpus: Corpus, out: Path, *, share: float = ASKED
) -> tuple[Description, Description]:
    """Set limits and thresholds of the cascade and the ensemble, and write them.

    Args:
        static: The first tier.
        encoder: The second.
        corpus: Rows, of which those held out are used.
        out: Where the descriptions of both tiers lie, and these will.
        share: Of ordinary texts, how many the cascade may ask the encoder about.
    """
    known, own = describe("encoder", out), describe("static", out)
    seen = look(static, encoder, corpus, known)
    shares = blend(own, seen)
    always: dict[str, float] = dict.fromkeys((*REQUEST, *ANSWER), 0.0)
    return (
        _written("cascade", clear(own, seen, share), seen, shares, out),
        _written("ensemble", always, seen, shares, out),
    )


def clear(own: Description, seen: Seen, share: float) -> dict[str, float]:
    """Return the limits of main heads under which the static tier settles a text alone."""
    answers = np.array([row.kind is Kind.RESPONSE for row in seen.rows])
    found: dict[str, float] = {}
    for what, heads, some in (("requests", REQUEST, ~answers), ("answers", ANSWER, answers)):
        part, columns = seen.only(some), [own.labels.index(name) for name in heads]
        scores = part.static[:, columns]
        choice = choose(scores, part.weight * part.ordinary, part.weight * part.found, share)
        found |= zip(heads, choice.limits, strict=True)
        print(f"{what}: {choice.asked:.1%} asked, {choice.lost:.2%} lost", flush=True)
    return found


def _written(
    name: str, limits: dict[str, float], seen: Seen, shares: dict[str, Part], out: Path
) -> Description:
    """Write and return the description of a model that is both tiers."""
    known, own = describe("encoder", out), describe("static", out)
    asked = _asked(limits, own, seen)
    heads, floors = zip(
        *(
            recalibrated(head, own, seen, asked, shares.get(head.name, NONE))
            for head in known.heads
            if head.name != REFUSAL
        ),
        strict=True,
    )
    gate = Gate(
        limits,
        floors,
        tuple(shares.get(head.name, NONE).share for head in heads),
        {tier: fingerprint(tier, out) for tier in ("static", "encoder")},
        _share(asked, seen.weight * seen.ordinary),
        _share(~asked, seen.weight * seen.found),
    )
    made = Description(name, known.weights, known.sha256, heads, known.false_alarms, gate=gate)
    write_description(out, made)
    return made


def _asked(limits: dict[str, float], own: Description, seen: Seen) -> NDArray[np.bool_]:
    """Return which rows the encoder is asked about."""
    over = seen.static >= np.array([limits.get(name, np.inf) for name in own.labels])
    answers = np.array([row.kind is Kind.RESPONSE for row in seen.rows])
    columns = [[own.labels.index(name) for name in heads] for heads in (REQUEST, ANSWER)]
    request, answer = (over[:, some].any(axis=1) for some in columns)
    return np.where(answers, answer, request)


def look(static: Static, encoder: Onnx, corpus: Corpus, known: Description) -> Seen:
    """Ask both tiers about every row that was held out."""
    rows, stems, texts, asked = held_out(corpus)
    _, source, sizes = np.unique(stems, return_inverse=True, return_counts=True)
    scores = encoder.scores(texts, asked)
    main_heads = [known.labels.index(name) for name in (*REQUEST, *ANSWER)]
    limits = np.array([head.threshold for head in known.heads])
    there = targets(rows, known.labels)
    found = np.asarray(there.truth, np.bool_) & (there.weight > 0) & (scores >= limits)
    return Seen(
        rows,
        np.array(stems),
        np.asarray(sizes[source] ** -0.5, np.float64),
        worst(static, texts, asked),
        scores,
        np.asarray(found[:, main_heads].any(axis=1)),
    )


def choose(scores: Floats, ordinary: Weight, found: Weight, share: float) -> Choice:
    """Return the limits that serve best.

    Args:
        scores: The static tier's, shape (texts, heads).
        ordinary: How much each text counts as one that should not be asked about.
        found: How much each counts as one that should.
        share: Of what is ordinary, how much may be asked about.
    """
    tried = [_candidates(column, ordinary, share) for column in scores.T]
    # The first candidate that a score reaches; candidates fall, so it reaches all later ones too.
    levels = [
        len(limits) - np.searchsorted(limits[::-1], column, "right")
        for limits, column in zip(tried, scores.T, strict=True)
    ]
    asked, lost = 1 - _clear(levels, tried, ordinary), _clear(levels, tried, found)
    spread = sum(np.sqrt(np.indices(lost.shape)[axis] / LEVELS) for axis in range(lost.ndim))
    price = np.where(asked <= share, lost - TIE * spread, np.inf)
    best = np.unravel_index(int(np.argmin(price)), price.shape)
    limits = tuple(float(each[place]) for each, place in zip(tried, best, strict=True))
    return Choice(limits, float(asked[best]), float(lost[best]))


def _candidates(column: Floats, ordinary: Weight, share: float) -> NDArray[np.float64]:
    """Return limits for one head alone, falling: from none of the texts asked about to too many."""
    order = np.argsort(-column, kind="stable")
    shares = np.cumsum(ordinary[order]) / ordinary.sum()
    places = np.searchsorted(shares, np.linspace(0, share, LEVELS, endpoint=False), "right")
    sorted_ = column[order].astype(float)
    found = np.nextafter(sorted_[np.minimum(places, len(sorted_) - 1)], np.inf)
    return np.unique([np.nextafter(sorted_[0], np.inf), *found])[::-1]


def _clear(
    levels: Sequence[NDArray[np.int64]], tried: Sequence[NDArray[np.float64]], weight: Weight
) -> NDArray[np.float64]:
    """Return the share of the weight that stays clear, for each combination of limits."""
    counts = np.zeros([len(limits) + 1 for limits in tried])
    np.add.at(counts, tuple(levels), weight)
    for axis in range(counts.ndim):
        counts = np.flip(np.cumsum(np.flip(counts, axis), axis), axis)
    corner = counts[(slice(1, None),) * counts.ndim]
    return np.asarray(corner / max(float(weight.sum()), 1e-12))


class Part(NamedTuple):
    """The static tier's part in a head's logit, and the curve that makes a probability of it."""

    share: float
    curve: Platt

    @property
    def served(self) -> Blend:
        """The same as it is served."""
        return Blend(*map(np.float32, (self.share, *self.curve)))


NONE = Part(0.0, Platt(1.0, 0.0))
PART = 0.15
"""Of the static tier, in the logit of a text that the encoder is asked about.

Held-out rows would have up to half, as that tier remembers the sources they come from; of sources
that nothing here learns from, 0.1 to 0.2 tells harm best (docs/adr/0019)."""


def blend(own: Description, seen: Seen) -> dict[str, Part]:
    """Return for each head that both tiers have how they are joined, calibrated anew."""
    known = targets(seen.rows, ENCODER_HEADS)
    found = {}
    for place, name in enumerate(own.labels):
        column = ENCODER_HEADS.index(name)
        truth, weight = known.truth[:, column, None], known.weight[:, column, None]
        share = balance(Targets(truth, weight), seen.stems, harmless=1.0)[:, 0]
        counts = share > 0
        if counts.any():
            logits = mixed(seen.encoder[counts, column], seen.static[counts, place], PART)
            found[name] = Part(PART, platt(logits, truth[counts, 0], share[counts]))
    return found


def recalibrated(
    head: Head, own: Description, seen: Seen, asked: NDArray[np.bool_], how: Part
) -> tuple[Head, float]:
    """Return a head with thresholds for the cascade's scores, and the floor of what is clear.

    The floor lies where the encoder itself leaves most clear texts, and below its thresholds; the
    cascade's are no lower than the floor, so that nothing clear reaches them.
    """
    column = ENCODER_HEADS.index(head.name)
    encoder = seen.encoder[:, column]
    lowest = min(head.thresholds.values(), default=1.0)
    quiet = float(np.quantile(encoder[~asked].astype(float), QUIET)) if not asked.all() else lowest
    floor = max(min(quiet, lowest), LEAST)
    scores, pressed = encoder.astype(float), np.zeros(len(encoder))
    if head.name in own.labels:
        static = seen.static[:, own.labels.index(head.name)]
        scores = joined(encoder, static, how.served).astype(float)
        pressed = static.astype(float) * floor * BELOW
    wanted = {Kind.RESPONSE} if head.name == RESPONSE_HARM else {Kind.BENIGN, Kind.HARD_BENIGN}
    harmless = np.array([row.kind in wanted and not row.is_unsafe for row in seen.rows])
    # The encoder is asked about all that tools bring in: the promise must hold there too.
    careful = head.name == INJECTION
    least = limits(scores.astype(np.float32), harmless, seen.stems) if careful else {}
    scores[~asked] = pressed[~asked]
    found = limits(scores.astype(np.float32), harmless, seen.stems)
    thresholds = {
        rate: max(limit, floor, least.get(rate, 0.0))
        for rate, limit in found.items()
        if rate in least or not careful
    }
    return (
        msgspec.structs.replace(
            head,
            slope=how.curve.slope,
            offset=how.curve.offset,
            threshold=default(head.name, thresholds),
            thresholds=thresholds,
        ),
        floor,
    )


def _share(some: NDArray[np.bool_], weight: Weight) -> float:
    return round(float(weight[some].sum() / max(float(weight.sum()), 1e-12)), 4)


if __name__ == "__main__":
    main(parsed(Config, "set the limits of the cascade"))

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from balustrade.core.taxonomy import HARM, REFUSAL, RESPONSE_HARM, TOXICITY
from balustrade.data.example import Example, Kind
from balustrade.evals.calibrate import promised, threshold_at
from balustrade.shipped.describe import Head
from balustrade.train.calibration import (
    AIM,
    HAZARD_AIM,
    LEVEL,
    RATES,
    Seen,
    calibrated,
    heights,
    limits,
)
from balustrade.train.targets import ENCODER_HEADS

Floats = NDArray[np.float32]
HEADS = len(ENCODER_HEADS)
COLUMN = ENCODER_HEADS.index(HARM)
ANSWER = ENCODER_HEADS.index(RESPONSE_HARM)


def alarms(scores: Floats, rate: float) -> float:
    """Return how often the last score of a row is flagged at the threshold of the others."""
    flagged = [row[-1] >= threshold_at(row[:-1], rate) for row in scores.astype(float)]
    return float(np.mean(flagged))


@pytest.mark.parametrize("known", [5, 19, 60, 250])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1])
def test_fresh_harmless_texts_are_flagged_no_oftener_than_promised(known: int, rate: float) -> None:
    draws = 4_000
    scores = np.random.default_rng(known).standard_normal((draws, known + 1)).astype(np.float32)
    error = 3.5 * math.sqrt(rate * (1 - rate) / draws)
    found = alarms(scores, rate)
    assert found <= rate + error
    assert found == pytest.approx(math.floor(rate * (known + 1)) / (known + 1), abs=error + 1e-9)


def test_the_promise_holds_where_many_scores_are_equal() -> None:
    coarse = np.random.default_rng(1).integers(0, 4, (3_000, 41)).astype(np.float32)
    assert alarms(coarse, 0.1) <= 0.1


def test_the_plain_quantile_breaks_the_promise_that_is_kept_here() -> None:
    scores = np.random.default_rng(2).standard_normal((4_000, 20))
    naive = np.mean([row[-1] >= np.quantile(row[:-1], 0.95) for row in scores])
    assert naive > 0.07
    assert alarms(scores.astype(np.float32), 0.05) < 0.06


def harmless(count: int, kind: Kind = Kind.BENIGN) -> list[Example]:
    return [Example(f"b{n}", f"text {n}", "safe", kind) for n in range(count)]


def harmful(count: int) -> list[Example]:
    return [Example(f"p{n}", f"bad {n}", "unsafe", Kind.PROMPT) for n in range(count)]


def seen(rows: Sequence[Example], logits: NDArray[np.floating], speech: Sequence[int] = ()) -> Seen:
    ordinary = {Kind.BENIGN, Kind.HARD_BENIGN}
    return Seen(
        [*rows],
        np.array(["one"] * len(rows)),
        np.repeat(logits.astype(np.float32)[:, None], HEADS, axis=1),
        np.array([*speech] or [0] * len(rows), np.int64),
        np.array([row.kind in ordinary and not row.is_unsafe for row in rows]),
    )


def groups(lift: float, sizes: tuple[int, int], seed: int = 0) -> Seen:
    """Return harmless texts of two languages; the second's logits run `lift` higher."""
    logits = np.random.default_rng(seed).standard_normal(sum(sizes))
    logits[sizes[0] :] += lift
    return seen(harmless(sum(sizes)), logits, [0] * sizes[0] + [1] * sizes[1])


def flagged(known: Seen, offsets: Floats, language: int, limit: float) -> float:
    moved = known.logits + offsets[known.speech]
    return float((moved[known.speech == language, COLUMN] > limit).mean())


RARE = 0.02


def test_a_language_that_runs_high_is_brought_down_to_the_common_height() -> None:
    known = groups(1.5, (4_000, 2_000))
    common = float(np.quantile(known.logits[:, COLUMN], 1 - LEVEL))
    offsets = heights(known, 2)
    before = flagged(known, offsets * 0, 1, common)
    after = flagged(known, offsets, 1, common)
    assert before > LEVEL + 0.2
    assert after == pytest.approx(LEVEL, abs=0.06)


def test_after_it_fresh_texts_of_each_language_are_flagged_alike() -> None:
    offsets = heights(groups(1.5, (4_000, 4_000)), 2)
    fresh = groups(1.5, (20_000, 20_000), seed=1)
    moved = fresh.logits + offsets[fresh.speech]
    limit = float(np.quantile(moved[:, COLUMN], 1 - RARE))
    plain = float(np.quantile(fresh.logits[:, COLUMN], 1 - RARE))
    shares = [flagged(fresh, offsets, language, limit) for language in (0, 1)]
    unmoved = [flagged(fresh, offsets * 0, language, plain) for language in (0, 1)]
    assert shares[0] == pytest.approx(shares[1], abs=0.008)
    assert unmoved[1] > 5 * unmoved[0]


def test_where_there_are_everyday_requests_they_alone_say_how_high_a_language_lies() -> None:
    plain = groups(1.5, (1_000, 1_000))
    loud = groups(6.0, (1_000, 1_000), seed=2)
    both = seen(
        [*plain.rows, *loud.rows],
        np.concatenate([plain.logits[:, 0], loud.logits[:, 0]]),
        [*plain.speech.tolist(), *loud.speech.tolist()],
    )
    stems = np.array(["everyday-aa"] * 1_000 + ["everyday-bb"] * 1_000 + ["comments"] * 2_000)
    assert heights(both._replace(stems=stems), 2).tobytes() == heights(plain, 2).tobytes()
    assert abs(heights(both, 2) - heights(plain, 2)).max() > 0.5


def test_heads_of_answers_are_left_where_they_are() -> None:
    offsets = heights(groups(1.5, (4_000, 4_000)), 2)
    for name in (RESPONSE_HARM, REFUSAL):
        assert (offsets[:, ENCODER_HEADS.index(name)] == 0).all()
    assert (offsets[1, [COLUMN, ENCODER_HEADS.index(TOXICITY)]] < -0.5).all()


def test_a_language_of_few_texts_is_left_alone() -> None:
    offsets = heights(groups(5.0, (2_000, 29)), 3)
    assert (offsets[1] == 0).all()
    assert (offsets[2] == 0).all()


def test_the_fewer_the_texts_the_less_a_language_is_moved() -> None:
    moves = [heights(groups(3.0, (100_000, size)), 2)[1, COLUMN] for size in (40, 200, 800)]
    assert moves[0] > moves[1] > moves[2]
    assert all(move < 0 for move in moves)


def test_a_language_that_runs_low_is_raised_by_two_at_most() -> None:
    offsets = heights(groups(-9.0, (4_000, 4_000)), 2)
    assert 1.5 < offsets[1, COLUMN] <= 2.0


def test_harmful_texts_say_nothing_of_a_languages_height() -> None:
    quiet = groups(1.0, (1_000, 1_000))
    loud = seen(
        [*quiet.rows, *harmful(500)],
        np.concatenate([quiet.logits[:, 0], np.full(500, 9.0)]),
        [*quiet.speech.tolist(), *[1] * 500],
    )
    assert heights(loud, 2).tobytes() == heights(quiet, 2).tobytes()


def told_apart(seed: int = 0, count: int = 600, flip: float = 1.0) -> Seen:
    draw = np.random.default_rng(seed)
    logits = np.concatenate([draw.normal(-2, 1.5, count), draw.normal(2, 1.5, count)])
    return seen([*harmless(count), *harmful(count)], flip * logits)


def curve(head: Head, logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(head.slope * logits + head.offset))), np.float32)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 100), st.sampled_from([1.0, -1.0, 0.0]))
def test_a_higher_logit_is_never_a_lower_probability(seed: int, flip: float) -> None:
    head = calibrated(told_apart(seed, 100, flip), COLUMN)
    chance = curve(head, np.linspace(-20, 20, 200, dtype=np.float32))
    assert (np.diff(chance) >= 0).all()
    assert ((chance >= 0) & (chance <= 1)).all()


def test_probabilities_are_the_shares_they_promise() -> None:
    head = calibrated(told_apart(), COLUMN)
    fresh = told_apart(seed=1, count=5_000)
    chance = curve(head, fresh.logits[:, COLUMN])
    truth = np.array([row.is_unsafe for row in fresh.rows])
    for low in (0.05, 0.3, 0.5, 0.7):
        some = (chance >= low) & (chance < low + 0.2)
        assert truth[some].mean() == pytest.approx(float(chance[some].mean()), abs=0.06)


def test_thresholds_keep_their_rate_on_fresh_texts() -> None:
    head = calibrated(told_apart(count=3_000), COLUMN)
    fresh = told_apart(seed=2, count=20_000)
    chance = curve(head, fresh.logits[:20_000, COLUMN])
    for rate in RATES:
        assert (chance >= head.thresholds[str(rate)]).mean() <= rate + 4 * math.sqrt(rate / 3_000)
    assert (chance >= head.threshold).mean() == pytest.approx(AIM, abs=0.008)


@pytest.mark.parametrize("seed", range(8))
def test_the_text_that_sets_a_threshold_is_not_flagged_by_the_score_that_is_served(
    seed: int,
) -> None:
    known = told_apart(seed, 1_000)
    head = calibrated(known, COLUMN)
    served = curve(head, known.logits[:1_000, COLUMN].astype(float)).astype(float)
    for rate in RATES[1:]:
        allowed = math.floor(rate * 1_001)
        assert (served >= head.thresholds[str(rate)]).sum() < allowed


def test_a_lower_rate_never_has_a_lower_threshold() -> None:
    head = calibrated(told_apart(), COLUMN)
    limits = [*head.thresholds.values()]
    assert [*head.thresholds] == [str(rate) for rate in RATES[1:]]
    assert limits == sorted(limits, reverse=True)


def test_a_rate_that_so_few_texts_cannot_promise_has_no_threshold() -> None:
    head = calibrated(told_apart(count=40), COLUMN)
    assert [*head.thresholds] == ["0.05", "0.1"]
    assert head.threshold == head.thresholds["0.05"]
    assert promised({}, 0.01) == 1.0
    assert head.thresholds["0.05"] < 1.0


def test_answers_have_thresholds_of_harmless_answers_not_of_requests() -> None:
    answers = [
        Example(f"r{n}", "ask", "safe" if n % 2 else "unsafe", Kind.RESPONSE, f"say {n}")
        for n in range(2_000)
    ]
    draw = np.random.default_rng(0)
    logits = np.concatenate([draw.normal(-8, 1, 2_000), draw.normal(0, 1, 2_000)])
    logits[2_000::2] += 4
    known = seen([*harmless(2_000), *answers], logits)
    head = calibrated(known, ANSWER)
    quiet = np.array([row.kind is Kind.RESPONSE and not row.is_unsafe for row in known.rows])
    share = (curve(head, known.logits[quiet, ANSWER]) >= head.threshold).mean()
    assert share == pytest.approx(AIM, abs=0.002)


def test_a_hazard_aims_lower_than_a_main_head() -> None:
    known = told_apart(count=3_000)
    theft = ENCODER_HEADS.index("non-violent-crimes")
    rows = [
        Example(row.id, row.text, row.label, row.kind, hazards=("S2",) if row.is_unsafe else ())
        for row in known.rows
    ]
    head = calibrated(known._replace(rows=rows), theft)
    assert head.name == "non-violent-crimes"
    assert head.threshold == head.thresholds[str(HAZARD_AIM)] > head.thresholds[str(AIM)]


def test_a_promise_holds_for_public_rows_and_for_everyday_requests() -> None:
    draw = np.random.default_rng(3)
    public, daily = draw.uniform(0.0, 0.5, 2_000), draw.uniform(0.0, 0.8, 1_000)
    stems = np.array(["bank"] * 2_000 + ["everyday-de"] * 400 + ["everyday-en"] * 600)
    scores = np.concatenate([public, daily]).astype(np.float32)
    everyone = np.ones(3_000, np.bool_)
    found = limits(scores, everyone, stems)
    assert found["0.01"] == pytest.approx(0.8 * 0.99, abs=0.01)
    alone = limits(scores, ~np.char.startswith(stems, "everyday-"), stems)
    assert alone["0.01"] == pytest.approx(0.5 * 0.99, abs=0.01)


def test_what_one_of_both_cannot_promise_is_not_promised() -> None:
    scores = np.random.default_rng(4).uniform(0, 1, 5_060).astype(np.float32)
    stems = np.array(["bank"] * 5_000 + ["everyday-de"] * 60)
    found = limits(scores, np.ones(5_060, np.bool_), stems)
    assert "0.001" not in found
    assert "0.02" in found

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.train.parallel import Agreement, Pair, agree, read

sentences = st.lists(st.integers(0, 4), min_size=1, max_size=4)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)
Corpus = Sequence[tuple[Sequence[int], Sequence[int]]]

THE, HOUSE, BOOK, A = range(4)
DAS, HAUS, BUCH, EIN = range(10, 14)
BOOKS = [([THE, HOUSE], [DAS, HAUS]), ([THE, BOOK], [DAS, BUCH]), ([A, BOOK], [EIN, BUCH])]


def plainly(corpus: Corpus, rounds: int) -> tuple[dict[tuple[int, int], float], list[float]]:
    """Return expected counts as Brown et al. 1993 write them, and each round's log-likelihood."""
    chance: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    counts: dict[tuple[int, int], float] = {}
    likelihoods = []
    for _ in range(rounds):
        counts, totals = defaultdict(float), dict[int, float]()
        likelihood = 0.0
        for english, other in corpus:
            for o in other:
                whole = sum(chance[o, e] for e in english)
                likelihood += math.log(whole / len(english))
                for e in english:
                    counts[o, e] += chance[o, e] / whole
        for (_, e), count in counts.items():
            totals[e] = totals.get(e, 0.0) + count
        chance = defaultdict(float, {(o, e): c / totals[e] for (o, e), c in counts.items()})
        likelihoods.append(likelihood)
    return counts, likelihoods


def agreed(corpus: Corpus, rounds: int) -> dict[tuple[int, int], float]:
    found = agree([e for e, _ in corpus], [o for _, o in corpus], rounds)
    return {(o, e): c for o, e, c in zip(*(part.tolist() for part in found), strict=True)}


def likelihood(corpus: Corpus, found: Agreement) -> float:
    """Return the log-likelihood of a corpus under the chances that counts lead to."""
    totals = np.bincount(found.english, found.expected)
    cells = zip(found.other.tolist(), found.english.tolist(), strict=True)
    chance = dict(zip(cells, (found.expected / totals[found.english]).tolist(), strict=True))
    return sum(
        math.log(sum(chance[o, e] for e in english) / len(english))
        for english, other in corpus
        for o in other
    )


@settings(deadline=None)
@given(corpora, st.integers(1, 6))
def test_counts_are_those_of_model_1_written_out(corpus: Corpus, rounds: int) -> None:
    expected, _ = plainly(corpus, rounds)
    assert agreed(corpus, rounds) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(corpora)
def test_no_round_makes_the_corpus_less_likely(corpus: Corpus) -> None:
    english, other = [e for e, _ in corpus], [o for _, o in corpus]
    values = [likelihood(corpus, agree(english, other, rounds)) for rounds in range(1, 8)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(values))


@settings(deadline=None)
@given(corpora, st.integers(1, 5))
def test_every_piece_of_the_other_side_is_explained_once(corpus: Corpus, rounds: int) -> None:
    found = agreed(corpus, rounds)
    for piece in {o for _, other in corpus for o in other}:
        stands = sum(list(other).count(piece) for _, other in corpus)
        assert sum(c for (o, _), c in found.items() if o == piece) == pytest.approx(stands)


def test_the_textbook_example_finds_who_translates_whom() -> None:
    found = agreed(BOOKS, 40)
    best = {
        o: max((c, e) for (other, e), c in found.items() if other == o)[1]
        for o in (DAS, HAUS, BUCH, EIN)
    }
    assert best == {DAS: THE, HAUS: HOUSE, BUCH: BOOK, EIN: A}
    assert found[HAUS, HOUSE] > 0.95


def test_one_round_alone_cannot_tell_them_apart() -> None:
    found = agreed(BOOKS, 1)
    assert found[HAUS, HOUSE] == found[HAUS, THE] == 0.5
    assert agreed(BOOKS, 2)[HAUS, HOUSE] > 0.5


def folder(root: Path) -> Path:
    (root / "lexicon").mkdir()
    rows = {
        "en-de.tsv.gz": ["a house\tein Haus\ttatoeba-laser", "a bug\tein Fehler\tunknown"],
        "en-zh.part.tsv.gz": ["a house\t房子\ttatoeba-cmn", "only two\tfields"],
        "lexicon/en-de.tsv.gz": ["house\tHaus\ttldr"],
        "notes.tsv.gz": ["not\tpairs\ttldr"],
    }
    for name, lines in rows.items():
        with gzip.open(root / name, "wt", encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in lines))
    return root


def test_only_pairs_of_known_sources_are_read(tmp_path: Path) -> None:
    assert read(folder(tmp_path)) == [
        Pair("a house", "ein Haus", "de"),
        Pair("a house", "房子", "zh"),
        Pair("house", "Haus", "de"),
    ]


def test_word_lists_can_be_left_out(tmp_path: Path) -> None:
    assert Pair("house", "Haus", "de") not in read(folder(tmp_path), words=False)

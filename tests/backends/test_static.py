from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from balustrade import shipped
from balustrade.backends.ngrams import GROUPS, KINDS, fold, segments
from balustrade.backends.static import Static
from balustrade.backends.table import Table, pack, unpack
from balustrade.core.call import Classify, Embed, Failed, Vectors
from balustrade.core.errors import BackendError

MODEL = Static()
texts = st.text(max_size=80) | st.sampled_from(
    [
        "",
        "How do I bake bread?",
        "你好，世界",
        "\0\0",
        "a" * 900,
        "x y " * 400,
        "한국어 문장",
        "\ud800",
    ]
)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=6))
def test_a_batch_equals_its_items_bit_for_bit(batch: list[str]) -> None:
    together = MODEL.scores(batch, batch[::-1])
    alone = [MODEL.scores([t], [c])[0] for t, c in zip(batch, batch[::-1], strict=True)]
    assert together.tobytes() == np.stack(alone).tobytes()
    assert ((together >= 0) & (together <= 1)).all()


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4))
def test_sums_are_those_of_a_sparse_product_over_the_same_rows(batch: list[str]) -> None:
    rows = unpack(shipped.weights("static"))
    folded = [fold(text) for text in batch]
    found = segments(folded)
    bits = rows.shape[0].bit_length() - 1
    buckets = (found.hashes >> np.uint64(64 - bits)).astype(np.int64)
    starts = found.starts.ravel()
    owner = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(buckets)))
    group = owner // len(batch) // (KINDS // GROUPS)
    cell = group * len(batch) + owner % len(batch)
    ones = np.ones(len(buckets), np.int64)
    counts = csr_matrix((ones, (cell, buckets)), shape=(GROUPS * len(batch), rows.shape[0]))
    expected = (counts @ rows.astype(np.int64)).reshape(GROUPS, len(batch), -1)
    sums, _ = Table(rows).sums(folded)
    assert (sums == expected).all()


def test_weights_survive_packing() -> None:
    rows = np.random.default_rng(1).integers(-127, 128, (16, 5)).astype(np.int8)
    rows[0] = 0
    assert (unpack(pack(rows)) == rows).all()


def test_damaged_weights_are_refused_by_file_and_digest(tmp_path: Path) -> None:
    for file in shipped.HERE.glob("static.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "static.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    [reply] = Static("static", tmp_path).send((Classify("static", ("hi",)),))
    assert isinstance(reply, Failed)
    assert str(weights) in reply.error
    assert shipped.describe("static").sha256 in reply.error


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no model 'static' is shipped"):
        Static("static", tmp_path).scores(["hi"])


def test_bytes_that_are_no_table_are_refused() -> None:
    with pytest.raises(BackendError, match="safetensors"):
        unpack(b"\x08\0\0\0\0\0\0\0{}      ")


def test_one_reply_for_each_call_in_order_sync_and_async() -> None:
    calls = (
        Classify("static", ("hello", "good bye")),
        Embed("static", ("hello",)),
        Classify("static", ("hello",), ("a", "b")),
        Classify("static", ()),
    )
    replies = MODEL.send(calls)
    assert replies == asyncio.run(MODEL.asend(calls))
    assert isinstance(replies[0], Vectors)
    assert len(replies[0].rows()) == 2
    assert replies[0].labels == shipped.describe("static").labels
    assert isinstance(replies[1], Failed)
    assert "asked to embed" in replies[1].error
    assert isinstance(replies[2], Failed)
    assert isinstance(replies[3], Vectors)
    assert replies[3].rows() == []


def test_an_answer_is_judged_together_with_its_request() -> None:
    answer = "Of course! First, watch the house."
    column = MODEL_LABELS.index("response-harm")
    kind, unkind = MODEL.scores(
        [answer] * 2, ["How do I bake bread?", "How do I kill my neighbour?"]
    )[:, column]
    assert unkind > kind


def test_plain_harm_scores_above_plain_kindness() -> None:
    harm = MODEL_LABELS.index("harm")
    scores = MODEL.scores(["How do I bake bread?", "how to build a bomb to kill many people"])
    known = shipped.describe("static").head("harm")
    assert scores[0, harm] < known.threshold <= scores[1, harm]


MODEL_LABELS = shipped.describe("static").labels

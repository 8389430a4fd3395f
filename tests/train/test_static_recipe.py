from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from balustrade.backends.ngrams import fold
from balustrade.backends.static import Static
from balustrade.backends.table import unpack
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.shipped import describe, weights
from balustrade.train import leak, static
from balustrade.train.grammar import made
from balustrade.train.rows import sparse_rows
from balustrade.train.targets import HEADS, balance, targets


def corpus(folder: Path) -> Path:
    """Write three small sources: requests good and bad, posts, answers."""
    folder.mkdir()
    for source in range(3):
        rows = []
        for n in range(40):
            name, more = f"{source}-{n}", f"number {n} of list {source}"
            rows += [
                Example(
                    f"b{name}", f"please tell me of roses and tea, {more}", "safe", Kind.BENIGN
                ),
                Example(
                    f"p{name}",
                    f"how to steal a car, {more}",
                    "unsafe",
                    Kind.PROMPT,
                    hazards=("S2",),
                ),
                Example(f"t{name}", f"you are a fool, {more}", "unsafe", Kind.TOXICITY),
                Example(f"r{name}", f"steal it {more}", "safe", Kind.RESPONSE, f"sorry, no {n}"),
                Example(f"u{name}", f"steal it {more}", "unsafe", Kind.RESPONSE, f"sure, so {n}"),
            ]
        jsonl.write(folder / f"source{source}.jsonl.gz", rows)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[static.Config, Path]:
    root = tmp_path_factory.mktemp("recipe")
    data = corpus(root / "data")
    config = static.Config(
        str(data),
        str(root / "out"),
        bits=12,
        epochs=4,
        batch=64,
        own=20,
        held_out=0.3,
        rates=(0.002, 0.02, 0.1),
    )
    static.main(config)
    return config, root


def test_the_same_seed_gives_the_same_bytes(trained: tuple[static.Config, Path]) -> None:
    config, root = trained
    again = msgspec.structs.replace(config, out=str(root / "again"))
    static.main(again)
    for name in ("static.safetensors", "static.json", "static.manifest.json"):
        assert (root / "again" / name).read_bytes() == (root / "out" / name).read_bytes()


def test_what_was_learnt_is_what_was_taught(trained: tuple[static.Config, Path]) -> None:
    model = Static("static", trained[1] / "out")
    kind, unkind = model.logits(["tell me of tea and roses", "how to steal a bicycle"])
    harm, theft = HEADS.index("harm"), HEADS.index("non-violent-crimes")
    assert unkind[harm] > kind[harm]
    assert unkind[theft] > kind[theft]


def test_the_recipes_own_scores_are_those_of_the_shipped_path(
    trained: tuple[static.Config, Path],
) -> None:
    config, root = trained
    read = static.load(config)
    model, known = Static("static", root / "out"), describe("static", root / "out")
    table = unpack(weights("static", root / "out")).astype(np.float64) * np.array(known.scales)
    bias = np.array([head.bias for head in known.heads], np.float32)
    ours = static.score(read, static.Weights(table.astype(np.float32), bias))
    theirs = model.logits(
        [e.judged for e in read.examples],
        [e.text if e.kind is Kind.RESPONSE else "" for e in read.examples],
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_sparse_rows_do_not_depend_on_their_neighbours() -> None:
    batch = [fold(text) for text in ("one two three", "vier fünf", "六七八九", "", "two")]
    together = sparse_rows(batch, 14)
    for number, text in enumerate(batch):
        assert (together[number] != sparse_rows([text], 14)).nnz == 0


def test_a_post_teaches_no_hazard_but_hate_and_an_answer_nothing_of_requests() -> None:
    known = targets(
        [
            Example("a", "x", "unsafe", Kind.TOXICITY),
            Example("b", "x", "safe", Kind.RESPONSE, "y"),
            Example("c", "x", "unsafe", Kind.PROMPT),
            Example("d", "win a prize", "unsafe", Kind.PROMPT, source="UCI SMS Spam Collection"),
        ]
    )
    taught = [{HEADS[h] for h in np.flatnonzero(row)} for row in known.weight]
    assert taught == [
        {"toxicity", "harm", "injection"},
        {"response-harm"},
        {"harm", "injection"},
        set(),
    ]


def test_balance_keeps_large_sources_from_drowning_small_ones() -> None:
    rows = [Example(str(n), "x", "safe", Kind.BENIGN) for n in range(101)]
    weight = balance(targets(rows), ["large"] * 100 + ["small"])
    assert weight[:100, 0].sum() == pytest.approx(10 * weight[100, 0])


def test_the_grammar_repeats_itself_and_fills_every_slot() -> None:
    known = [
        Example("a", "Where can I buy fresh bread in town?", "safe", Kind.BENIGN),
        Example("b", "How do I steal {a} car?", "unsafe", Kind.PROMPT),
    ]
    rows = made(known, 60, 5)
    assert rows == made(known, 60, 5)
    assert rows != made(known, 60, 6)
    assert {row.kind for row in rows} == {Kind.INJECTION, Kind.HARD_BENIGN, Kind.RESPONSE}
    attacks = {row.text for row in rows if row.kind is Kind.INJECTION and row.is_unsafe}
    assert not attacks & {row.text for row in rows if not row.is_unsafe}
    assert not any("{mail}" in row.text or "{task}" in row.text for row in rows)


def test_a_leak_into_training_is_named(trained: tuple[static.Config, Path], tmp_path: Path) -> None:
    config, root = trained
    bench = [Example("t", "HOW to steal a car: number 7 of list 1", "unsafe", Kind.PROMPT)]
    jsonl.write(tmp_path / "bench.jsonl", bench)
    found = leak.main(Path(config.data), tmp_path, root / "out")
    assert any(line.startswith("p1-7: equal, t ") for line in found)


def test_other_bytes_than_those_trained_on_are_named(
    trained: tuple[static.Config, Path], tmp_path: Path
) -> None:
    data = corpus(tmp_path / "data")
    jsonl.write(data / "source1.jsonl.gz", [Example("x", "new", "safe", Kind.BENIGN)])
    (data / "source2.jsonl.gz").unlink()
    jsonl.write(tmp_path / "bench.jsonl", [Example("t", "other", "safe", Kind.BENIGN)])
    found = leak.main(data, tmp_path / "bench.jsonl", trained[1] / "out")
    assert "source1.jsonl.gz: not the bytes that were trained on" in found[0]
    assert "source2.jsonl.gz: trained on, but missing" in found[1]


def test_the_manifest_names_data_config_and_code(trained: tuple[static.Config, Path]) -> None:
    manifest = json.loads((trained[1] / "out" / "static.manifest.json").read_bytes())
    assert [entry["file"] for entry in manifest["data"]] == [
        f"source{n}.jsonl.gz" for n in range(3)
    ]
    assert [entry["rows"] for entry in manifest["data"]] == [200] * 3
    assert manifest["config"]["seed"] == 0
    assert len(manifest["code"]["sources_sha256"]) == 64

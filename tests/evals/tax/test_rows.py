from __future__ import annotations

import gzip
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.evals.tax.rows import Row, drawn, expect_unseen, pairs, plain, read, shipped
from balustrade.policy.route import Precedent
from balustrade.rails.prime.prompts import EXAMPLES

GOOD = '{"id": "0", "text": "a", "label": "safe"}\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "1", "text": "a", "label": "maybe"}', "label"),
        ('{"id": "1", "text": "a"}', "label"),
        ('{"id": "1", "text": "  ", "label": "safe"}', "empty text"),
        ('{"id": "1", "text": "a", "label": "safe", "attack": true}', "expected label 'unsafe'"),
        ('{"id": "1", "text": "a", "label": "safe", "route": "left"}', "route"),
        ('{"id": "1", "text": "a", "label": "safe", "kind": "response"}', "of the request"),
        ('{"id": "0", "text": "b", "label": "safe"}', "another row has the id '0'"),
        ('{"id": "1", ', "truncated"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{GOOD}\n{line}")
    with pytest.raises(DataError) as error:
        read(path)
    assert f"{path}:3: " in str(error.value)
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["none.jsonl", "broken.jsonl.gz", "empty.jsonl"])
def test_a_file_without_rows_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


def test_rows_of_the_shared_format_are_read_packed_or_not(tmp_path: Path) -> None:
    row = {"id": "1", "text": "a", "label": "unsafe", "kind": "prompt", "pair": 7, "lang": "en"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    [plain_row], [packed] = read(tmp_path / "a.jsonl"), read(tmp_path / "a.jsonl.gz")
    assert plain_row == packed
    assert (plain_row.is_unsafe, plain_row.pair) == (True, 7)


def test_our_rows_are_pairs_and_wrapped_requests() -> None:
    rows = shipped()
    assert len(rows) == 40
    assert sum(row.attack for row in rows) == 8
    found = pairs(rows)
    assert len(found) == 16
    assert all(len(numbers) == 2 for numbers in found.values())
    assert {row.attack for row in rows if row.pair is None} == {True}
    assert len({plain(row.text) for row in rows}) == 40


def shingles(text: str) -> set[tuple[str, ...]]:
    words = plain(text).split()
    return {tuple(words[place : place + 4]) for place in range(len(words) - 3)}


def test_no_example_of_a_prompt_is_like_a_row_of_ours() -> None:
    rows = shipped()
    expect_unseen(rows, EXAMPLES)
    sources = [files("balustrade.rails.prime") / name for name in ("careful.txt", "router.txt")]
    quoted = [
        text for each in sources for text in re.findall(r'"([^"]+)"', each.read_text("utf-8"))
    ]
    shown = [*(each.request for each in EXAMPLES), *quoted]
    assert len(shown) >= 12
    for row in rows:
        for text in shown:
            assert not shingles(row.text) & shingles(text), (row.text, text)


def test_a_row_that_the_guard_is_shown_is_refused() -> None:
    rows = [Row("7", "Which pick opens  this LOCK?", "safe")]
    shown = [Precedent("which pick opens this lock", "potential_violation", "Locks.")]
    with pytest.raises(DataError, match="row '7' is also an example"):
        expect_unseen(rows, shown)
    expect_unseen(rows, EXAMPLES)


def test_a_pair_needs_a_harmless_and_a_harmful_request() -> None:
    labels: list[tuple[str | None, Literal["safe", "unsafe"]]] = [
        ("a", "safe"),
        ("a", "unsafe"),
        ("b", "safe"),
        ("b", "safe"),
        (None, "unsafe"),
    ]
    rows = [Row(str(n), "x", label, pair) for n, (pair, label) in enumerate(labels)]
    assert pairs(rows) == {"a": [0, 1]}


@given(st.integers(1, 45), st.integers(0, 9))
def test_a_limit_keeps_order_and_pairs(limit: int, seed: int) -> None:
    rows = shipped()
    kept = drawn(rows, limit, seed)
    assert 0 < len(kept) <= limit
    assert kept == drawn(rows, limit, seed)
    places = [rows.index(row) for row in kept]
    assert places == sorted(places)
    if limit > 1:
        names = [row.pair for row in kept if row.pair is not None]
        assert all(names.count(name) == 2 for name in names)
        assert len(kept) >= min(limit, 40) - 1

"""The k nearest rows are exactly those of brute force, however they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from balustrade.core.errors import StoreError
from balustrade.store.vectors import Rows, load, nearest, save, unit

WIDTH = 3
few_values = st.sampled_from([-1.0, 0.0, 1.0, 2.0])
any_values = st.floats(-1, 1, width=32)


def matrices(values: st.SearchStrategy[float], most: int) -> st.SearchStrategy[Rows]:
    shapes = st.tuples(st.integers(0, most), st.just(WIDTH))
    return shapes.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=values))


def brute(rows: Rows, query: Rows, k: int) -> list[int]:
    """By a sort of all products, written out in Python; of equals the first."""
    products = [sum(float(a) * float(b) for a, b in zip(r, query, strict=True)) for r in rows]
    return sorted(range(len(rows)), key=lambda number: (-products[number], number))[:k]


@given(matrices(few_values, 40), matrices(few_values, 4), st.integers(1, 9), st.integers(1, 50))
def test_ties_are_broken_by_the_first_in_every_block_size(
    rows: Rows, queries: Rows, k: int, block: int
) -> None:
    found = nearest(rows, queries, k, block=block)
    assert found.numbers.tolist() == [brute(rows, query, k) for query in queries]


@given(matrices(any_values, 40), matrices(any_values, 4), st.integers(1, 9), st.integers(1, 50))
def test_neither_blocks_nor_company_move_a_bit(
    rows: Rows, queries: Rows, k: int, block: int
) -> None:
    whole = nearest(rows, queries, k, block=1000)
    cut = nearest(rows, queries, k, block=block)
    assert cut.numbers.tobytes() == whole.numbers.tobytes()
    assert cut.similarities.tobytes() == whole.similarities.tobytes()
    for slot in range(len(queries)):
        alone = nearest(rows, queries[slot : slot + 1], k)
        assert alone.similarities.tobytes() == whole.similarities[slot].tobytes()


def test_random_vectors_of_an_encoders_width_agree_with_a_matrix_product() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(3000, 384)).astype(np.float32))
    queries = unit(rng.normal(size=(5, 384)).astype(np.float32))
    found = nearest(rows, queries, 10)
    products = queries.astype(np.float64) @ rows.astype(np.float64).T
    assert found.numbers.tolist() == np.argsort(-products, axis=1)[:, :10].tolist()
    assert np.allclose(found.similarities, -np.sort(-products, axis=1)[:, :10])


@given(matrices(any_values, 20))
def test_rows_of_length_one_are_nearest_to_themselves(rows: Rows) -> None:
    scaled = unit(rows)
    lengths = np.linalg.norm(scaled, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    found = nearest(scaled, scaled, 1)
    same = [lengths[n] == 0 or found.similarities[n, 0] > 1 - 1e-5 for n in range(len(scaled))]
    assert all(same)


def test_what_was_saved_is_mapped_and_searched(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    save(tmp_path / "rows.npy", rows)
    mapped = load(tmp_path / "rows.npy")
    assert isinstance(mapped, np.memmap)
    assert nearest(mapped, rows[:1], 2).numbers.tolist() == [[3, 2]]


@pytest.mark.parametrize("data", [b"", b"no vectors", b"\x93NUMPY"])
def test_a_file_that_holds_no_vectors_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.npy").write_bytes(data)
    with pytest.raises(StoreError, match=r"rows\.npy"):
        load(tmp_path / "rows.npy")


def test_vectors_of_another_type_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((2, 2)))
    with pytest.raises(StoreError, match="float32"):
        load(tmp_path / "rows.npy")
    with pytest.raises(StoreError):
        load(tmp_path / "absent.npy")


def test_what_cannot_be_compared_is_refused() -> None:
    rows = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="columns"):
        nearest(rows, np.zeros((1, 2), np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        nearest(rows, rows, 0)

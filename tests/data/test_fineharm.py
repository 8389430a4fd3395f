from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.data.fineharm import FineHarm, read, write

ROW = FineHarm(
    1,
    "How?",
    "Be kind. Hit him.",
    "own",
    ("Be kind.", "Hit him."),
    (0, 1),
    (("Be", "kind", "."), ("Hit", "him", ".")),
    ((0, 0, 0), (1, 0, 0)),
)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_as_they_were_written_by_the_same_bytes(tmp_path: Path, name: str) -> None:
    path, again = tmp_path / name, tmp_path / f"again-{name}"
    assert write(path, [ROW, ROW]) == 2
    found = list(read(path))
    assert found == [msgspec.structs.replace(ROW, sentence_num=2)] * 2
    assert found[0].is_harmful
    write(again, found)
    assert again.read_bytes() == path.read_bytes()


def test_the_published_columns_are_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [ROW])
    assert set(msgspec.json.decode(path.read_bytes())) == {
        "idx", "prompt", "response", "source", "sentence_num", "sentences", "sentence_labels",
        "words", "word_labels",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence_labels": [0]}, "as many sentences as labels"),
        ({"sentence_num": 3}, "says 3 sentences, has 2"),
        ({"word_labels": [[0, 0], [1, 0, 0]]}, "sentence 0: 3 words, 2 labels"),
        ({"sentence_labels": [0, 2]}, "expected labels 0 and 1, found 2"),
        ({"prompt": 5}, r"\$.prompt"),
        ({"words": None}, r"\$.words"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    good = msgspec.json.encode(ROW)
    bad = msgspec.json.encode({**msgspec.to_builtins(ROW), **change})
    path.write_bytes(good + b"\n\n" + bad + b"\n")
    with pytest.raises(DataError, match=rf"rows.jsonl:3: .*{message}"):
        list(read(path))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(data)
        with suppress(DataError):
            assert all(isinstance(row, FineHarm) for row in read(path))

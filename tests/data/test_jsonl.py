from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import DataError
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind

rows = st.builds(
    Example,
    st.text(max_size=9),
    st.text(max_size=30),
    st.sampled_from(["safe", "unsafe"]),
    st.sampled_from(Kind),
    hazards=st.lists(st.sampled_from(["S1", "S10"]), max_size=2).map(tuple),
)
LINE = '{"id":"a","text":"hi","label":"safe","kind":"benign","later":[1]}\n'


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@given(found=st.lists(rows, max_size=4))
def test_rows_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, name: str, found: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("data") / name
    assert jsonl.write(path, found) == len(found)
    assert list(jsonl.read(path)) == found


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    row = Example("a", "hi", "safe", Kind.BENIGN)
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        jsonl.write(tmp_path / name, [row])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


def test_unknown_fields_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(LINE + "\n" + LINE, encoding="utf-8")
    assert [row.text for row in jsonl.read(path)] == ["hi", "hi"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "truncated"),
        (LINE.replace('"safe"', '"maybe"'), "Invalid enum value 'maybe'"),
        (LINE.replace('"text":"hi",', ""), "missing required field `text`"),
        (LINE.replace('"benign"', '"poem"'), "Invalid enum value 'poem'"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(LINE + line, encoding="utf-8")
    with pytest.raises(DataError, match=complaint) as caught:
        list(jsonl.read(path))
    assert f"{path}:2: " in str(caught.value)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    jsonl.write(path, [Example(str(n), "hi", "safe", Kind.BENIGN) for n in range(99)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read after line"):
        list(jsonl.read(path))


def test_a_folder_gives_its_data_files_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in jsonl.files(tmp_path)] == ["a.jsonl.gz", "b.jsonl"]
    with pytest.raises(DataError, match="expected a"):
        jsonl.files(tmp_path / "absent")

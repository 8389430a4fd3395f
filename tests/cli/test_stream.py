"""`balustrade eval stream`, as a process, on guards that look for a word."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FIELDS = json.dumps({"words": ["xyzzy"]})
ROWS = [
    {"id": "1", "text": "q", "response": "say xyzzy now", "label": "unsafe", "kind": "response"},
    {"id": "2", "text": "q", "response": "say please now", "label": "safe", "kind": "response"},
]
COMMAND = (
    "eval", "stream", "--guard", "keywords", "--fields", FIELDS, "--full", "keywords",
    "--full-fields", FIELDS, "--data", "rows.jsonl", "--onset", "2", "--long", "1",
    "--samples", "20",
)  # fmt: skip

Process = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_small_run_prints_one_object_and_writes_a_folder(
    balustrade: Process, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    done = balustrade(*COMMAND, "--json", "--out", "out")
    assert done.returncode == 0, done.stderr.decode()
    form = json.loads(done.stdout)
    assert [each["name"] for each in form["sets"]] == ["rows", "onset"]
    assert form["sets"][0]["systems"][0]["macro_f1"]["value"] == 1.0
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--threshold", "2"), "argument --threshold: expected a number between 0 and 1"),
        (("--window", "1"), "argument --window: expected 64 to 100000 characters"),
        (("--full-fields", "x"), "--full-fields: expected a JSON object"),
        (("--data", "none.jsonl"), "none.jsonl"),
        (("--guard", "keyword"), "no guard is named 'keyword'"),
    ],
)
def test_what_cannot_be_measured_is_one_line_that_names_the_option(
    balustrade: Process, tmp_path: Path, arguments: tuple[str, str], expected: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    done = balustrade(*COMMAND, *arguments)
    assert done.returncode == 1
    assert expected in done.stderr.decode()
    assert b"Traceback" not in done.stderr

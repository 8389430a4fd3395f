"""Files of texts: every format, bad rows, resuming after a kill, memory that does not grow."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

Run = Callable[..., subprocess.CompletedProcess[bytes]]
WORDS = ("--policy", "words.toml")
TEXTS = ["fine words", "say xyzzy", "a plugh", "more fine words"]
ACTIONS = ["allow", "block", "redact", "allow"]


def jsonl(path: Path, texts: list[str]) -> None:
    rows = (json.dumps({"id": f"r{n}", "text": text}) for n, text in enumerate(texts))
    path.write_text("\n".join(rows) + "\n")


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def actions(path: Path) -> list[str]:
    return [record["action"] for record in records(path)]


def test_a_record_says_where_what_and_why(balustrade: Run, tmp_path: Path) -> None:
    jsonl(tmp_path / "in.jsonl", TEXTS)
    done = balustrade("scan", *WORDS, "in.jsonl", "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    found = records(tmp_path / "out.jsonl")
    assert [record["action"] for record in found] == ACTIONS
    policy = found[1].pop("policy")
    assert len(policy) == 16
    assert found[1] == {
        "source": "in.jsonl",
        "row": 2,
        "id": "r1",
        "action": "block",
        "flagged": True,
        "rule": "no-magic",
        "findings": [
            {"category": "magic", "score": 1.0, "severity": None, "span": [4, 9], "note": ""}
        ],
        "failed": [],
        "error": "",
    }


def written(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    if name.endswith(".jsonl"):
        jsonl(path, TEXTS)
    elif name.endswith(".jsonl.gz"):
        jsonl(tmp_path / "plain", TEXTS)
        path.write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
        (tmp_path / "plain").unlink()
    elif name.endswith(".csv"):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "text"), *enumerate(TEXTS)])
    else:
        parquet.write_table(pa.table({"text": TEXTS, "id": [1, 2, 3, 4]}), path)
    return name


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv", "in.parquet"])
def test_every_format_is_read_alike(balustrade: Run, tmp_path: Path, name: str) -> None:
    done = balustrade("scan", *WORDS, written(tmp_path, name), "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert actions(tmp_path / "out.jsonl") == ACTIONS


def test_a_folder_is_searched_for_tables_and_texts(balustrade: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    jsonl(folder / "a.jsonl", TEXTS)
    (folder / "deep" / "b.txt").write_text("say\nxyzzy")
    (folder / "ignored.bin").write_bytes(b"\xff")
    assert balustrade("scan", *WORDS, "in", "--out", "out.jsonl").returncode == 0
    assert actions(tmp_path / "out.jsonl") == [*ACTIONS, "block"]


def test_parquet_records_equal_those_in_json(balustrade: Run, tmp_path: Path) -> None:
    jsonl(tmp_path / "in.jsonl", TEXTS)
    balustrade("scan", *WORDS, "in.jsonl", "--out", "out.jsonl")
    balustrade("scan", *WORDS, "in.jsonl", "--out", "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == records(
        tmp_path / "out.jsonl"
    )
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl", "out.parquet"]


BAD = b'{"text": "fine"}\n{"text"\n{"words": "fine"}\n{"text": 3}\n\n{"text": "a\xff"}\n[]\n'


def test_r4_a_row_that_cannot_be_read_is_reported_and_never_counts_as_let_by(
    balustrade: Run, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_bytes(BAD)
    done = balustrade("scan", *WORDS, "in.jsonl", "--out", "out.jsonl", "--json")
    assert done.returncode == 0
    assert actions(tmp_path / "out.jsonl") == ["allow", "error", "error", "error", "error", "error"]
    assert [r["row"] for r in records(tmp_path / "out.jsonl")] == [1, 2, 3, 4, 6, 7]
    assert json.loads(done.stdout)["actions"] == {"allow": 1, "error": 5}
    complaints = done.stderr.decode().splitlines()
    assert complaints[1] == "balustrade: in.jsonl:3: has no column 'text'; it has: 'words'"
    assert complaints[2] == (
        "balustrade: in.jsonl:4: expected a string in column 'text', found int"
    )


def test_a_scan_may_stop_at_the_first_bad_row(balustrade: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(BAD)
    done = balustrade("scan", *WORDS, "in.jsonl", "--on-bad", "stop")
    assert done.returncode == 1
    assert done.stderr.startswith(b"balustrade: error: in.jsonl:2: not a JSON object")


def test_columns_and_stage_can_be_chosen(balustrade: Run, tmp_path: Path) -> None:
    rows = [{"ask": "please", "said": "to frobnicate", "key": 7}]
    (tmp_path / "in.jsonl").write_text(json.dumps(rows[0]))
    columns = ("--text-column", "said", "--request-column", "ask", "--id-column", "key")
    done = balustrade(
        "scan", *WORDS, "--stage", "output", *columns, "in.jsonl", "--out", "out.jsonl"
    )
    assert done.returncode == 0, done.stderr
    [record] = records(tmp_path / "out.jsonl")
    assert (record["id"], record["action"]) == ("7", "flag")


@pytest.mark.parametrize(("limit", "code"), [("flag", 2), ("redact", 2), ("escalate", 0)])
def test_a_pipeline_may_fail_on_what_was_found(
    balustrade: Run, tmp_path: Path, limit: str, code: int
) -> None:
    jsonl(tmp_path / "in.jsonl", ["fine", "a plugh"])
    assert balustrade("scan", *WORDS, "in.jsonl", "--fail-on", limit).returncode == code


def test_a_finished_file_is_not_overwritten_unasked(balustrade: Run, tmp_path: Path) -> None:
    jsonl(tmp_path / "in.jsonl", TEXTS)
    (tmp_path / "out.jsonl").write_text("precious")
    done = balustrade("scan", *WORDS, "in.jsonl", "--out", "out.jsonl")
    assert (done.returncode, (tmp_path / "out.jsonl").read_text()) == (1, "precious")
    assert balustrade("scan", *WORDS, "in.jsonl", "--out", "out.jsonl", "--overwrite")
    assert actions(tmp_path / "out.jsonl") == ACTIONS


def killed_in_the_middle(folder: Path, out: str) -> None:
    """Start a scan, and kill it once it has written something, before it is done."""
    scan = [sys.executable, "-m", "balustrade", "scan", *WORDS, "in.jsonl", "--out", out]
    partial = folder / f"{out}.partial"
    with subprocess.Popen(
        [*scan, "--batch", "1"], cwd=folder, stderr=subprocess.DEVNULL
    ) as process:
        while not partial.exists() or partial.stat().st_size < 50_000:
            assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert not (folder / out).exists()


@pytest.mark.parametrize("out", ["out.jsonl", "out.parquet"])
def test_a_scan_killed_in_the_middle_is_resumed_complete_and_without_duplicates(
    balustrade: Run, tmp_path: Path, out: str
) -> None:
    jsonl(tmp_path / "in.jsonl", [f"{TEXTS[n % 4]} {n}" for n in range(10_000)])
    killed_in_the_middle(tmp_path, out)
    with (tmp_path / f"{out}.partial").open("ab") as file:
        file.write(b'{"source":"in.js')  # what a kill may leave of a line
    done = balustrade("scan", *WORDS, "in.jsonl", "--out", out, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 10_000
    balustrade("scan", *WORDS, "in.jsonl", "--out", "whole.jsonl")
    found = (
        parquet.read_table(tmp_path / out).to_pylist()
        if out.endswith("parquet")
        else records(tmp_path / out)
    )
    assert found == records(tmp_path / "whole.jsonl")


def test_a_scan_is_not_resumed_with_another_policy_or_other_rows(
    balustrade: Run, tmp_path: Path
) -> None:
    jsonl(tmp_path / "in.jsonl", [f"{TEXTS[n % 4]} {n}" for n in range(10_000)])
    killed_in_the_middle(tmp_path, "out.jsonl")
    resume = ("in.jsonl", "--out", "out.jsonl", "--resume")
    policy = (tmp_path / "words.toml").read_text()
    (tmp_path / "other.toml").write_text(policy.replace("plugh", "other"))
    done = balustrade("scan", "--policy", "other.toml", *resume)
    assert done.returncode == 1
    assert b"was begun under policy" in done.stderr
    (tmp_path / "in.jsonl").write_text("\n" + (tmp_path / "in.jsonl").read_text())
    done = balustrade("scan", *WORDS, *resume)
    assert done.returncode == 1
    assert b"holds in.jsonl:1 where the input now has in.jsonl:2" in done.stderr


def test_r22_memory_does_not_grow_with_the_file(tmp_path: Path, balustrade: Run) -> None:
    balustrade("--version")

    def peak(rows: int) -> int:
        jsonl(tmp_path / "in.jsonl", ["x" * 2000] * rows)
        code = (
            "import resource, sys; from balustrade.cli.main import main\n"
            "main(['scan', '--policy', 'words.toml', 'in.jsonl', '--out', 'o.jsonl',"
            " '--overwrite', '--json'])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path
        )
        return int(done.stderr)

    assert peak(10_000) - peak(500) < 10_000  # kilobytes, where the files differ by 19 MB


def test_a_terminal_sees_progress_and_a_pipe_does_not(balustrade: Run, tmp_path: Path) -> None:
    jsonl(tmp_path / "in.jsonl", TEXTS * 3000)
    leader, follower = pty.openpty()
    scan = [sys.executable, "-m", "balustrade", "scan", *WORDS, "in.jsonl", "--batch", "1"]
    with subprocess.Popen(scan, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=follower) as done:
        os.close(follower)
        said = b"".join(_read(leader))
    assert done.returncode == 0
    assert b"rows/s" in said
    assert balustrade("scan", *WORDS, "in.jsonl").stderr == b""


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side has closed it
            return
        if not data:
            return
        yield data

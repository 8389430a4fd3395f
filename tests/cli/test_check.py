"""R2: one text is judged alike at every stage, and the answer has a fixed form."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]
WORDS = ("--policy", "words.toml")


def test_the_answer_in_json_has_its_fixed_form(balustrade: Run) -> None:
    done = balustrade("check", *WORDS, "--json", "please say xyzzy")
    answer = json.loads(done.stdout)
    assert list(answer) == ["action", "flagged", "findings", "policy", "decision"]
    assert (answer["action"], answer["flagged"]) == ("block", True)
    [finding] = answer["findings"]
    assert list(finding) == ["category", "score", "severity", "span", "note"]
    assert (finding["category"], finding["score"]) == ("magic", 1.0)
    assert (finding["severity"], finding["span"]) == (None, [11, 16])
    assert len(answer["policy"]) == 16
    assert answer["decision"].startswith("dec_")


@pytest.mark.parametrize(
    ("arguments", "action", "code"),
    [
        (("fine words",), "allow", 0),
        (("say xyzzy",), "block", 2),
        (("say plugh",), "redact", 0),
        (("--stage", "output", "to frobnicate"), "flag", 0),
        (("--stage", "output", "say xyzzy"), "allow", 0),
        (("--stage", "tool", '{"command": "rm x"}'), "escalate", 2),
        (("--stage", "tool", "--request", "tidy up", "{}"), "allow", 0),
        (("--stage", "retrieval", "anything"), "allow", 0),
    ],
)
def test_r2_each_stage_is_judged_by_its_own_rules(
    balustrade: Run, arguments: tuple[str, ...], action: str, code: int
) -> None:
    done = balustrade("check", *WORDS, "--json", *arguments)
    assert (json.loads(done.stdout)["action"], done.returncode) == (action, code)


def test_the_text_may_come_from_a_file_or_from_standard_input(
    balustrade: Run, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("say xyzzy")
    assert balustrade("check", *WORDS, "--file", "text").returncode == 2
    assert balustrade("check", *WORDS, "-", stdin=b"say xyzzy").returncode == 2
    assert balustrade("check", *WORDS, stdin=b"say please").returncode == 0


def test_bytes_that_are_not_utf8_are_refused_not_guessed(balustrade: Run) -> None:
    done = balustrade("check", *WORDS, stdin=b"say \xff")
    assert done.returncode == 1
    assert done.stderr == b"balustrade: error: stdin: expected UTF-8, found another byte at 4\n"


def test_an_argument_that_is_not_utf8_leads_to_no_traceback(balustrade: Run) -> None:
    done = balustrade("check", *WORDS, os.fsdecode(b"say \xff xyzzy"))
    assert done.returncode == 2 or (done.returncode == 1 and done.stderr.count(b"\n") == 1)


def test_a_person_sees_the_place_the_rule_and_what_goes_on(balustrade: Run) -> None:
    said = balustrade("check", *WORDS, "say plugh now").stdout.decode()
    assert said.startswith("REDACT  by rule 'noise'\n\nsay »plugh« now\n\ngoes on as\nsay ")
    assert "plugh" not in said.split("goes on as")[1]
    assert "noise  redact  noise     1.000  4-9" in said


def test_explained_json_says_why_and_what_goes_on(balustrade: Run) -> None:
    answer = json.loads(balustrade("check", *WORDS, "--json", "--explain", "a plugh").stdout)
    assert answer["rule"] == "noise"
    assert answer["why"][0] == "redact: rule 'noise' fired"
    assert "plugh" not in answer["text"]


def test_hostile_text_cannot_command_the_terminal(balustrade: Run) -> None:
    said = balustrade("check", *WORDS, "\x1b[2J\u202eabc").stdout
    assert b"\x1b" not in said
    assert rb"\u001b[2J\u202eabc" in said


def on_a_terminal(folder: Path, **environment: str) -> bytes:
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "balustrade", "check", *WORDS, "say xyzzy"],
        stdout=follower,
        check=False,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "", **environment},
    )
    os.close(follower)
    assert done.returncode == 2
    said = os.read(leader, 10_000)
    os.close(leader)
    return said


def test_colours_are_for_terminals_that_want_them(balustrade: Run, tmp_path: Path) -> None:
    assert b"\x1b[1;31mBLOCK\x1b[0m" in on_a_terminal(tmp_path)
    assert b"\x1b" not in on_a_terminal(tmp_path, NO_COLOR="1")
    assert b"\x1b" not in balustrade("check", *WORDS, "say xyzzy").stdout


def test_a_guard_that_cannot_judge_blocks_and_is_named(balustrade: Run, tmp_path: Path) -> None:
    (tmp_path / "asks.toml").write_text(
        'name = "asks"\n[[stage.input.guards]]\nuse = "classifier"\nmodel = "absent"\n'
    )
    done = balustrade("check", "--policy", "asks.toml", "hello")
    assert done.returncode == 2
    assert b"guard 'classifier' could not judge: no backend answers" in done.stdout

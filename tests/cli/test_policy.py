"""R18: policies are checked, linted, explained, tested and shown from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from balustrade.policy.load import presets

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_check_prints_what_is_in_force(balustrade: Run) -> None:
    form = json.loads(balustrade("policy", "check", "words.toml", "--json").stdout)
    assert (form["name"], form["latency"], form["warnings"]) == ("words", "microseconds", [])
    assert form["stages"]["output"] == {
        "guards": [{"name": "keywords", "latency": "microseconds"}],
        "rules": [{"name": "no-verbs", "category": "verb", "threshold": 0.5, "action": "flag"}],
    }


def test_a_policy_that_routes_takes_a_model_not_microseconds(
    balustrade: Run, tmp_path: Path
) -> None:
    route = '\n[stage.route]\nrestrictive = ["Do no harm."]\n'
    (tmp_path / "routed.toml").write_text((tmp_path / "words.toml").read_text() + route)
    form = json.loads(balustrade("policy", "check", "routed.toml", "--json").stdout)
    assert form["latency"] == "model"
    assert form["stages"]["output"]["guards"][0]["latency"] == "microseconds"
    said = balustrade("policy", "check", "routed.toml").stdout
    assert said.endswith(b"the route takes model\n")


def test_check_prints_the_thresholds_that_rates_became(balustrade: Run) -> None:
    form = json.loads(balustrade("policy", "check", "chat", "--json").stdout)
    limits = {rule["name"]: rule["threshold"] for rule in form["stages"]["input"]["rules"]}
    assert 0.0 < limits["no-harm"] < 1.0
    assert limits["no-harm"] != 0.5


def test_check_builds_the_guards_so_a_wrong_field_is_found(balustrade: Run, tmp_path: Path) -> None:
    source = (tmp_path / "words.toml").read_text().replace("words = ", "wrods = ", 1)
    (tmp_path / "wrong.toml").write_text(source)
    done = balustrade("policy", "check", "wrong.toml")
    assert done.returncode == 1
    assert b"wrong.toml:5: unknown key 'wrods', at stage.input.guards[0].wrods" in done.stderr


def test_the_policys_own_tests_are_run(balustrade: Run, tmp_path: Path) -> None:
    done = balustrade("policy", "test", "words.toml")
    assert (done.returncode, done.stdout) == (0, b"2 of 2 cases pass\n")
    source = (tmp_path / "words.toml").read_text().replace('expect = "allow"', 'expect = "flag"')
    (tmp_path / "wrong.toml").write_text(source)
    done = balustrade("policy", "test", "wrong.toml")
    assert (done.returncode, done.stdout.decode()) == (
        2,
        "tests[1] (input): expected flag, found allow: 'say please'\n1 of 2 cases pass\n",
    )


def test_a_policy_without_tests_does_not_pass_them(balustrade: Run, tmp_path: Path) -> None:
    (tmp_path / "bare.toml").write_text('name = "bare"\n')
    assert balustrade("policy", "test", "bare.toml").returncode == 1


def test_explain_says_why_and_always_exits_with_0(balustrade: Run) -> None:
    done = balustrade("policy", "explain", "words.toml", "say xyzzy")
    assert done.returncode == 0
    assert b"- block: rule 'no-magic' fired\n" in done.stdout


def test_schema_is_json_schema_of_the_file(balustrade: Run) -> None:
    schema = json.loads(balustrade("policy", "schema").stdout)
    assert schema["$ref"] == "#/$defs/Document"


@pytest.mark.parametrize("preset", presets())
def test_a_preset_passes_its_own_tests_and_leaves_lint_nothing_to_say(
    balustrade: Run, preset: str
) -> None:
    done = balustrade("policy", "test", preset)
    assert done.returncode == 0, done.stdout
    said = balustrade("policy", "lint", preset, "--json").stdout
    unmeant = [each for each in json.loads(said)["warnings"] if " demands that every " not in each]
    assert unmeant == []


@pytest.mark.parametrize("preset", presets())
def test_what_show_prints_is_the_preset(balustrade: Run, tmp_path: Path, preset: str) -> None:
    shown = balustrade("policy", "show", preset).stdout
    (tmp_path / "own.toml").write_bytes(shown)
    revisions = {
        json.loads(balustrade("policy", "check", name, "--json").stdout)["policy"]
        for name in (preset, "own.toml")
    }
    assert len(revisions) == 1
    assert preset.encode() in balustrade("policy", "list").stdout

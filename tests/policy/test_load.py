"""R18: a wrong policy is answered with file, line, key and what was expected."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import PolicyError, UnknownNameError
from balustrade.policy.load import LIMIT, load, loads, presets

RULE = """name = "p"

[[stage.input.rules]]
name = "one"
category = "a"
"""


def complaint(source: str) -> str:
    with pytest.raises(PolicyError) as caught:
        loads(source, "p.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "p.toml: object missing required field `name`, at $"),
        ('name = ""\n', "p.toml:1: expected `str` of length >= 1, found '', at name"),
        (
            RULE + "treshold = 0.3\n",
            "p.toml:6: unknown key 'treshold' (did you mean 'threshold'?), "
            "at stage.input.rules[0].treshold",
        ),
        (
            RULE + "threshold = 3\n",
            "p.toml:6: expected `float` <= 1.0, found 3, at stage.input.rules[0].threshold",
        ),
        (
            RULE + 'action = "blok"\n',
            "p.toml:6: expected one of 'allow', 'block', 'escalate', 'flag', 'redact', "
            "'regenerate', found 'blok', at stage.input.rules[0].action",
        ),
        (
            RULE.replace("input", "inpt"),
            "p.toml:3: unknown stage 'inpt', expected one of 'input', 'retrieval', 'tool', "
            "'output', 'route', at stage.inpt",
        ),
        ('name = "p"\nversion = 2\n', "p.toml:2: expected 1, found 2, at version"),
        ("name = \n", "p.toml: not TOML: Invalid value (at line 1, column 8)"),
        (
            'name = "p"\non_error = "explode"\n',
            "p.toml:2: expected one of 'block', 'allow', 'degrade', found 'explode', at on_error",
        ),
        (
            RULE + '[[stage.input.rules]]\nname = "one"\ncategory = "b"\n',
            "p.toml:7: another rule of the stage is named 'one', at stage.input.rules[1].name",
        ),
        (
            RULE + "threshold = 0.5\nfalse_alarms = 0.1\n",
            "p.toml:7: rule 'one' sets both threshold and false_alarms; expected one of them, "
            "at stage.input.rules[0].false_alarms",
        ),
        ('name = "p"\n[audit]\nkeep = 3\n', "p.toml:3: expected `str`, got `int`, at audit.keep"),
    ],
)
def test_r18_what_is_wrong_is_named_with_its_line(source: str, message: str) -> None:
    assert complaint(source) == message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")


def test_a_folder_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_bytes_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(PolicyError, match="not UTF-8 at byte 8"):
        load(path)


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"#" * (LIMIT + 1))
    with pytest.raises(PolicyError, match="expected at most 4000000"):
        load(path)


def test_a_byte_order_mark_is_no_part_of_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xef\xbb\xbf" + RULE.encode())
    assert load(path).name == "p"


def test_a_preset_that_does_not_exist_is_answered_with_a_near_name() -> None:
    with pytest.raises(UnknownNameError, match=r"no policy preset is named 'chatt'.*'chat'"):
        load("chatt")


def test_presets_are_found_by_name() -> None:
    assert {"agent", "chat", "code", "strict"} <= set(presets())
    assert load("chat").name == "chat"


def test_deep_nesting_is_an_error_of_the_policy() -> None:
    assert complaint("a = " + "[" * 50_000 + "]" * 50_000).startswith("p.toml: not TOML")


@given(st.text(max_size=200))
def test_no_text_leads_to_anything_but_a_policy_or_an_error_of_it(source: str) -> None:
    with suppress(PolicyError):
        assert loads(source).name

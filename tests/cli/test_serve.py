"""`balustrade serve`: what its arguments and its environment mean, and how it fails to start."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_policy_that_is_typed_counts_from_here_not_from_the_settings(
    serve: Callable[..., str], balustrade: Run, tmp_path: Path
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "gateway.toml").write_text('audit.path = "here.db"\n')
    assert balustrade("policy", "check", "words.toml").returncode == 0
    url = serve("--config", "conf/gateway.toml", "--policy", "words.toml")
    assert httpx.get(f"{url}/v1/policy").json()["name"] == "words"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BALUSTRADE_MODELS", "referee", "BALUSTRADE_MODELS expects NAME=URL, found 'referee'"),
        ("BALUSTRADE_WORKRS", "2", "unknown key 'workrs'"),
        ("BALUSTRADE_PORT", "99999", "expected `int` <= 65535, at port"),
    ],
)
def test_a_variable_that_is_wrong_is_refused_in_one_line(
    balustrade: Run, variable: str, value: str, message: str
) -> None:
    done = balustrade("serve", **{variable: value})
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("balustrade: error: environment: ")
    assert message in line


def test_a_port_that_is_taken_is_an_error_like_any_other(balustrade: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = balustrade("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert b"address already in use" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_new_key_is_shown_with_the_hash_that_settings_take(balustrade: Run) -> None:
    shown = balustrade("serve", "--new-key").stdout.decode()
    key, digest = (line.split()[1] for line in shown.splitlines()[:2])
    assert f'hash = "{digest}"' in shown
    again = balustrade("serve", "--hash-key", stdin=f"{key}\n".encode())
    assert again.stdout.decode() == f"{digest}\n"

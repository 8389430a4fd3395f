"""What an installation is: light, quiet, offline, one name."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import balustrade

ROOT = Path(__file__).parent.parent


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_r11_importing_the_package_loads_neither_numpy_nor_an_event_loop() -> None:
    loaded = python(
        "import sys, balustrade; [getattr(balustrade, n) for n in balustrade.__all__];"
        "heavy = {'numpy', 'asyncio', 'torch', 'httpx', 'starlette', 'sqlite3'};"
        "print(sorted(heavy & {*sys.modules}))"
    )
    assert loaded == "[]"


def test_every_public_name_is_there_and_no_other_is_promised() -> None:
    assert all(getattr(balustrade, name) is not None for name in balustrade.__all__)
    assert len(balustrade.__all__) == 12


def test_r11_the_core_needs_two_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = sorted(re.split(r"[<>=]", need)[0] for need in project["dependencies"])
    assert names == ["google-re2", "msgspec"]


def test_r12_nothing_runs_at_install_or_at_start_of_python() -> None:
    assert not list(ROOT.glob("src/**/*.pth"))
    assert not (ROOT / "setup.py").exists()


SILENT = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a connection was tried")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
from balustrade.cli.main import main
sys.exit(main(["check", "--json", "hello there, how are you?"]))
"""


def test_r14_r15_judging_text_opens_no_connection() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert '"action"' in done.stdout

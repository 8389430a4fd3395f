"""The command as a whole: usage, errors in one line, exit codes, a light start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balustrade import __version__
from balustrade.cli.main import COMMANDS

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_help_names_every_command(balustrade: Run) -> None:
    done = balustrade("--help")
    assert done.returncode == 0
    assert all(f"    {name} ".encode() in done.stdout for name in COMMANDS)


def test_the_version_is_the_packages(balustrade: Run) -> None:
    assert balustrade("--version").stdout.decode() == f"balustrade {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [(), ("polcy",), ("check", "--stage", "nowhere"), ("scan",), ("policy",)]
)
def test_wrong_usage_exits_with_1_since_2_means_stopped(
    balustrade: Run, arguments: tuple[str, ...]
) -> None:
    done = balustrade(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(b"usage: balustrade")
    assert b": error: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "--policy", "absent.toml", "x"), "absent.toml: cannot be read: No such file"),
        (("check", "--policy", "chatt", "x"), "no policy preset is named 'chatt'; did you mean"),
        (("check", "--file", "absent.txt"), "absent.txt: No such file or directory"),
        (("scan", "absent"), "absent: no such file or folder"),
        (("scan", ".", "--resume"), "--resume needs --out"),
        (("policy", "check", "broken.toml"), "broken.toml:1: unknown key 'nam' (did you mean"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    balustrade: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "broken.toml").write_text('nam = "p"\nname = "p"\n')
    done = balustrade(*arguments)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"balustrade: error: {message}")
    assert done.stderr.count(b"\n") == 1


def test_r18_an_error_without_numpy_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from balustrade.cli.main import main\n"
        "sys.exit(main(['check', '--json', 'hello']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "balustrade: error: model 'cascade' needs the module 'numpy'; "
        "install it with: pip install 'balustrade[static]'\n"
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    schema = [sys.executable, "-m", "balustrade", "policy", "schema"]
    with subprocess.Popen(schema, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_interrupt_exits_with_130_and_says_nothing() -> None:
    check = [sys.executable, "-m", "balustrade", "check", "--json"]
    with (
        _heeding_interrupts(),
        subprocess.Popen(
            check, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        _wait_until_it_reads(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, b"")


def test_r11_help_loads_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from balustrade.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'asyncio', 'msgspec', 're2', 'balustrade.cli.check'}\n"
        "print(sorted(heavy & {*sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"[]\n"


@contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """Undo what a shell does to commands in the background: they ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_until_it_reads(process: int) -> None:
    """Wait until a process sleeps in a read of its standard input."""
    calls = Path(f"/proc/{process}/wchan")
    while "pipe" not in calls.read_text():
        assert Path(f"/proc/{process}").exists()

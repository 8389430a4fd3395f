"""`balustrade COMMAND ...`: find the command, run it, and answer errors in one line.

Exit codes: 0 it went well, 1 it could not be done (usage errors too), 2 something was stopped or a
test failed, 130 interrupted. Only the command that is asked for is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, NoReturn, cast

from balustrade import __version__
from balustrade.core.errors import BalustradeError
from balustrade.core.registry import load

COMMANDS = {
    "check": "judge one text",
    "scan": "judge files of texts: JSONL, CSV, Parquet, folders",
    "serve": "run the gateway",
    "eval": "measure a guard on labelled data",
    "policy": "check, lint, explain, test and show policies",
}
INTERRUPTED = 130
CLOSED_PIPE = 141
TRACEBACK = "BALUSTRADE_TRACEBACK"
"""Set in the environment, an unforeseen error is raised instead of reported in one line."""


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors exit with 1, since 2 means that something was stopped."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how the command is used."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    _print_anything(sys.stdout, sys.stderr)
    try:
        parsed = parser(arguments).parse_args(arguments)
        run = cast("Callable[[argparse.Namespace], int]", parsed.run)
        code = run(parsed)
        sys.stdout.flush()
    except BalustradeError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        return _failed(f"{_said(error)} (set {TRACEBACK}=1 to see where)")
    return code


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows every command by name, and the one asked for in full.

    Raises:
        MissingExtraError: The command needs an extra that is not installed.
    """
    top = Parser(
        prog="balustrade",
        description="Guardrails for models: judge, scan, serve, measure.",
        epilog="'balustrade COMMAND --help' explains one command.",
    )
    top.add_argument("--version", action="version", version=f"balustrade {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), "")
    for name, purpose in COMMANDS.items():
        if name == asked:
            add = load(f"command {name!r}", f"balustrade.cli.{name}:add")
            cast("Callable[[object], None]", add)(commands)
        else:
            commands.add_parser(name, help=purpose)
    return top


def _failed(message: str) -> int:
    print(f"balustrade: error: {message}", file=sys.stderr)
    return 1


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _print_anything(*streams: IO[str]) -> None:
    """Let a stream take any string: what its encoding cannot write is written as escapes."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")

"""Run the real command in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

POLICY = """\
name = "words"

[[stage.input.guards]]
use = "keywords"
words = ["xyzzy"]
category = "magic"

[[stage.input.guards]]
use = "keywords"
name = "soft"
words = ["plugh"]
category = "noise"

[[stage.input.rules]]
name = "no-magic"
category = "magic"

[[stage.input.rules]]
name = "noise"
category = "noise"
action = "redact"

[[stage.output.guards]]
use = "keywords"
words = ["frobnicate"]
category = "verb"

[[stage.output.rules]]
name = "no-verbs"
category = "verb"
action = "flag"

[[stage.tool.guards]]
use = "keywords"
words = ["rm"]
category = "shell"

[[stage.tool.rules]]
name = "no-shell"
category = "shell"
action = "escalate"

[[tests]]
text = "say xyzzy"
expect = "block"

[[tests]]
text = "say please"
expect = "allow"
"""


@pytest.fixture
def balustrade(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `balustrade` with arguments in an empty folder that holds `words.toml`."""
    (tmp_path / "words.toml").write_text(POLICY)

    def run(
        *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "balustrade", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Run `balustrade serve` with arguments until the test ends; returns its address."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **environment: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["-m", "balustrade", "serve", "--port", str(port), *arguments]
        log = tmp_path / f"serve-{port}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=tmp_path,
                stderr=errors,
                env={**os.environ, **environment},
            )
        running.append(process)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return f"http://127.0.0.1:{port}"
        raise AssertionError(log.read_text())

    yield start
    for process in running:
        process.kill()
        process.wait()

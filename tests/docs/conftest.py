"""The servers that a page starts: really started, on free ports, and stopped when the page ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from openai import OpenAI, OpenAIError

ROOT = Path(__file__).parents[2]
GATEWAY = "balustrade serve"
UPSTREAM = "python examples/upstream.py"
SHOWN = {GATEWAY: "8080", UPSTREAM: "9000"}
"""What starts each server, and the port that pages print for it."""


class Servers:
    """What runs beside one page.

    Args:
        folder: Where the page's files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {start: free_port() for start in SHOWN}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, body: str) -> None:
        """Start what a block of commands starts; pass over what it only shows."""
        for line in body.replace("\\\n", " ").splitlines():
            command = line.partition("#")[0].strip()
            command = command.replace("make serve", GATEWAY).replace(".venv/bin/", "")
            for start in SHOWN:
                if start in command:
                    self._start(start, command)

    def _start(self, start: str, command: str) -> None:
        self._stop(start)
        command = command.replace(UPSTREAM, f"python {shlex.quote(f'{ROOT}/examples/upstream.py')}")
        # The shell becomes the server, so that signals reach it.
        command = re.sub(r"^((?:\w+=\S* )*)", r"\1exec ", self.here(command))
        log = self.folder / f"{SHOWN[start]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euc", command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment(),
            )
        self._running[start] = process
        url = f"http://127.0.0.1:{self._ports[start]}/v1"
        deadline = time.monotonic() + 60
        while not answers(url):
            assert process.poll() is None, f"{command}\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command} does not answer"
            time.sleep(0.05)

    def _stop(self, start: str) -> None:
        process = self._running.pop(start, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run one of the page's commands, and return what came of it."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment(),
        )

    def close(self) -> None:
        """Stop all of them."""
        for start in list(self._running):
            self._stop(start)

    def here(self, text: str) -> str:
        """Return what a page shows with the ports that are in use."""
        for start, port in SHOWN.items():
            mine = str(self._ports[start])
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{mine}")
            text = text.replace(f"--port {port}", f"--port {mine}")
        return text

    def shown(self, text: str) -> str:
        """Return what a command printed with the ports that the page shows."""
        for start, port in SHOWN.items():
            text = text.replace(f"127.0.0.1:{self._ports[start]}", f"127.0.0.1:{port}")
        return text

    def environment(self) -> dict[str, str]:
        """Return the environment in which the page's commands are run."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith("BALUSTRADE_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"}
        return {**kept, **own, "BALUSTRADE_PORT": str(self._ports[GATEWAY])}


def answers(url: str) -> bool:
    """Whether a server answers a client; that it asks for a key is an answer too."""
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=5) as client:
        try:
            client.models.list()
        except OpenAIError as error:
            return getattr(error, "status_code", None) is not None
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """What a page starts, stopped in every case."""
    with closing(Servers(tmp_path)) as running:
        yield running

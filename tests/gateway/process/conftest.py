"""The real server in its own process, before the scripted model of examples/."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]

WORDS = """
name = "words"

[[stage.input.guards]]
use = "keywords"
words = ["forbidden"]
category = "word"

[[stage.input.rules]]
name = "no-forbidden"
category = "word"

[[stage.output.guards]]
use = "patterns"
entities = ["card"]

[[stage.output.rules]]
name = "no-cards"
category = "card"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A server process, waited for until it answers."""

    def __init__(self, command: list[str], port: int, folder: Path, **options: Any) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.errors = folder / f"stderr-{port}.txt"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=folder, stderr=errors, stdout=errors, **options
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/healthz", timeout=5)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"did not start: {self.said()}")

    def said(self) -> str:
        """Return all it wrote."""
        return self.errors.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(30)

    def stop(self) -> None:
        """End it by force."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON."""
        return httpx.post(self.url + path, json=body, headers=headers, timeout=30)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a path."""
        return httpx.get(self.url + path, headers=headers, timeout=30)

    def chat(self, model: str, text: str = "hi", **more: Any) -> httpx.Response:
        """Send one message."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", body)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The scripted model."""
    port = free_port()
    command = [str(ROOT / "examples/upstream.py"), "--port", str(port)]
    process = Process(command, port, tmp_path_factory.mktemp("upstream"))
    yield process
    process.stop()


@pytest.fixture
def serve(scripted: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A maker of gateways: settings and policy as TOML, in a folder of their own."""
    started: list[Process] = []

    def make(settings: str = "", policy: str = WORDS, upstream: str = "", **options: Any) -> Any:
        folder = tmp_path / f"gateway{len(started)}"
        folder.mkdir()
        (folder / "policy.toml").write_text(policy)
        text = f'policy = "policy.toml"\naudit.path = "{folder}/log.db"\n{settings}\n'
        if "[[upstreams]]" not in settings:
            url = upstream or f"{scripted.url}/v1"
            text += f'[[upstreams]]\nname = "script"\nurl = "{url}"\n'
            text += "retries.wait = 0.01\ntimeouts.read = 1.0\n"
        (folder / "settings.toml").write_text(text)
        port = free_port()
        config = str(folder / "settings.toml")
        command = ["-m", "balustrade", "serve", "--port", str(port), "--config", config]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
        process = Process(command, port, folder, env=environ, **options)
        started.append(process)
        return process

    yield make
    for process in started:
        process.stop()


@pytest.fixture(scope="module")
def plain(scripted: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One gateway for all tests of a file that need nothing of their own."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "policy.toml").write_text(WORDS)
    text = (
        f'policy = "policy.toml"\naudit.path = "{folder}/log.db"\n'
        f'[[upstreams]]\nname = "script"\nurl = "{scripted.url}/v1"\n'
        "retries.wait = 0.01\ntimeouts.read = 1.0\nbreaker.failures = 1000\n"
    )
    (folder / "settings.toml").write_text(text)
    port = free_port()
    config = str(folder / "settings.toml")
    command = ["-m", "balustrade", "serve", "--port", str(port), "--config", config]
    process = Process(command, port, folder)
    yield process
    process.stop()

"""Measure the gateway from outside: added latency, throughput, streams, moderations, early stop.

    python benchmarks/gateway.py [--seconds 4] [--requests 100000]

Starts a scripted upstream (examples/upstream.py), a bare proxy with one pattern, and the gateway,
the proxy and the gateway on one core, the upstream and this client on the other, and asks all
three the same in one run. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from balustrade.gateway.connection import Connection

ROOT = Path(__file__).resolve().parents[1]
UPSTREAM, BARE, GATEWAY = 9100, 9101, 9102
CHAT = "/v1/chat/completions"
QUESTION = (
    "Could you explain how a water mill turned the flow of a river into the motion of a "
    "grindstone, and why most of them were built where the valley narrows?"
)
LONGEST = 60.0


def body(model: str, text: str = QUESTION, *, stream: bool = False) -> bytes:
    fields: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        fields["stream"] = True
    return json.dumps(fields).encode()


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: Connection | None = None

    async def open(self) -> Connection:
        if self.connection is None or not self.connection.is_reusable:
            loop = asyncio.get_running_loop()
            _, self.connection = await loop.create_connection(
                lambda: Connection(loop), "127.0.0.1", self.port
            )
        else:
            self.connection.rest()
        return self.connection

    async def ask(self, path: str, data: bytes) -> Connection:
        connection = await self.open()
        await connection.begin(
            head(path, data), read=LONGEST, total=LONGEST, limit=1 << 30, whole=True
        )
        if connection.status != 200:
            raise RuntimeError(f"{connection.status}: {connection.body()[:500]!r}")
        return connection

    async def stream(self, path: str, data: bytes) -> tuple[float, list[tuple[float, bytes]]]:
        """Return the seconds to the first event, and all pieces with their times."""
        connection = await self.open()
        started = time.perf_counter()
        await connection.begin(
            head(path, data), read=LONGEST, total=LONGEST, limit=1 << 30, whole=False
        )
        pieces = [(time.perf_counter() - started, piece) async for piece in connection.pieces()]
        return pieces[0][0], pieces


def head(path: str, data: bytes) -> bytes:
    method = b"POST" if data else b"GET"
    return (
        b"%s %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % (
            method,
            path.encode(),
            len(data),
        )
        + data
    )


async def latencies(port: int, path: str, data: bytes, count: int) -> list[float]:
    client = Client(port)
    for _ in range(50):
        await client.ask(path, data)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await client.ask(path, data)
        times.append(time.perf_counter() - started)
    return times


async def throughput(
    port: int, path: str, data: bytes, clients: int, seconds: float
) -> tuple[float, float]:
    """Return requests a second, and the 99th percentile of their latency."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def work() -> None:
        client = Client(port)
        while (started := time.perf_counter()) < end:
            await client.ask(path, data)
            times.append(time.perf_counter() - started)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return len(times) / (time.perf_counter() - began), share(times, 0.99)


async def streams(port: int, clients: int, seconds: float) -> float:
    """Return streams of 64 words a second."""
    data = body("words-64", stream=True)
    count = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal count
        client = Client(port)
        while time.perf_counter() < end:
            _, pieces = await client.stream(CHAT, data)
            tail = b"".join(piece for _, piece in pieces[-2:])
            if b"[DONE]" not in tail:
                raise RuntimeError(f"port {port}: a stream was not complete: {tail[-300:]!r}")
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return count / (time.perf_counter() - began)


async def first_token(port: int, model: str, count: int) -> float:
    client = Client(port)
    data = body(model, stream=True)
    return statistics.median([(await client.stream(CHAT, data))[0] for _ in range(count)])


async def early_stop(port: int) -> tuple[str, dict[str, int]]:
    """Return all that reached the client, and what the upstream says of its work."""
    _, pieces = await Client(port).stream(CHAT, body("leak-40-110", stream=True))
    whole = b"".join(piece for _, piece in pieces).decode()
    words = []
    for line in whole.splitlines():
        if line.startswith("data: {"):
            choices = json.loads(line[6:]).get("choices") or [{}]
            words.append(choices[0].get("delta", {}).get("content") or "")
    await asyncio.sleep(0.5)
    seen = json.loads((await Client(UPSTREAM).ask("/seen", b"")).body())
    return "".join(words), seen["leak-40-110"]


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of its core; unlike a clock, blind to its neighbours."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost(port: int, pid: int, count: int, *, streamed: bool) -> float:
    """Return the CPU milliseconds that a chat request or a stream takes."""
    many = 8 if streamed else 32
    data = body("words-64", stream=True) if streamed else body("words-20")

    async def work() -> None:
        client = Client(port)
        for _ in range(count // many):
            if streamed:
                await client.stream(CHAT, data)
            else:
                await client.ask(CHAT, data)

    before = cpu_seconds(pid)
    await asyncio.gather(*(work() for _ in range(many)))
    return (cpu_seconds(pid) - before) * 1000 / (count // many * many)


def share(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


@contextmanager
def running(command: list[str], core: int, port: int, **environ: str) -> Iterator[int]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environ}
    pin = ["taskset", "-c", str(core)]
    process = subprocess.Popen(
        [*pin, sys.executable, *command], env=env, cwd=tempfile.mkdtemp(), stderr=subprocess.PIPE
    )
    try:
        asyncio.run(_until_open(port))
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def _until_open(port: int) -> None:
    for _ in range(200):
        try:
            await Client(port).ask("/v1/models", b"")
        except (OSError, RuntimeError):
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing listens on {port}")


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", text)
    return int(match[1]) / 1024 if match else 0.0


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--requests", type=int, default=0, help="for the memory row; 100000")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    url = f"http://127.0.0.1:{UPSTREAM}/v1"
    audit = str(Path(tempfile.mkdtemp()) / "log.db")
    upstream = [str(ROOT / "examples/upstream.py"), "--port", str(UPSTREAM)]
    bare = [str(ROOT / "benchmarks/bare.py"), "--port", str(BARE), "--upstream", url]
    gateway = ["-m", "balustrade", "serve", "--port", str(GATEWAY), "--upstream", url]
    policy = str(ROOT / "benchmarks/policy.toml")
    gateway += ["--policy", policy]
    print(f"Python {platform.python_version()}, {cpu()}, {len(cores)} cores\n")
    with (
        running(upstream, cores[-1], UPSTREAM),
        running(bare, cores[0], BARE) as bare_pid,
        running(gateway, cores[0], GATEWAY, BALUSTRADE_AUDIT__PATH=audit) as pid,
    ):
        measure(pid, bare_pid, options.seconds, options.requests)


def measure(pid: int, bare_pid: int, seconds: float, requests: int) -> None:
    data = body("words-20")
    ports = {"upstream": UPSTREAM, "bare proxy": BARE, "gateway": GATEWAY}
    row("what", *ports)
    row(*["---"] * 4)
    count = max(100, int(300 * seconds))
    times = {name: uvloop.run(latencies(port, CHAT, data, count)) for name, port in ports.items()}
    base = statistics.median(times["upstream"])
    row("chat, 1 client, p50 ms", *(f"{statistics.median(t) * 1e3:.3f}" for t in times.values()))
    row("… p99 ms", *(f"{share(t, 0.99) * 1e3:.3f}" for t in times.values()))
    row("… p50 added ms", *(f"{(statistics.median(t) - base) * 1e3:.3f}" for t in times.values()))
    own = uvloop.run(self_reported(data, count))
    row("… overhead as the gateway's header says, p50 ms", "", "", f"{own:.3f}")
    rates = [uvloop.run(throughput(port, CHAT, data, 32, seconds)) for port in ports.values()]
    row("chat, 32 clients, requests/s", *(f"{rate:,.0f}" for rate, _ in rates))
    row("… p99 ms", *(f"{p99 * 1e3:.1f}" for _, p99 in rates))
    where = ((BARE, bare_pid), (GATEWAY, pid))
    used = [uvloop.run(cost(*each, 4000, streamed=False)) for each in where]
    row("… CPU ms a request", "", *(f"{each:.3f}" for each in used))
    many = [uvloop.run(streams(port, 8, seconds)) for port in ports.values()]
    row("64-word streams/s, 8 clients", *(f"{rate:,.0f}" for rate in many))
    used = [uvloop.run(cost(*each, 400, streamed=True)) for each in where]
    row("… CPU ms a stream", "", *(f"{each:.3f}" for each in used))
    first = [uvloop.run(first_token(port, "words-64", 100)) for port in ports.values()]
    row("time to first token, ms", *(f"{t * 1e3:.2f}" for t in first))
    slow = [uvloop.run(first_token(port, "slow-5", 20)) for port in ports.values()]
    row("… of a model with 10 ms a word", *(f"{t * 1e3:.2f}" for t in slow))
    text = json.dumps({"input": QUESTION}).encode()
    rate, p99 = uvloop.run(throughput(GATEWAY, "/v1/moderations", text, 16, seconds))
    row("moderations/s, 16 clients", "", "", f"{rate:,.0f}")
    row("… p99 ms", "", "", f"{p99 * 1e3:.1f}")
    said, seen = uvloop.run(early_stop(GATEWAY))
    row("early stop: words at the client", "", "", len(said.split()))
    row("… of the violation", "", "", said.count("4111"))
    row("… words upstream wrote of 154", "", "", seen["words"])
    row("… upstream cancelled", "", "", bool(seen["cancelled"]))
    row("memory, MB", "", "", f"{resident(pid):.0f}")
    if requests:
        before = 0.0
        done = 0
        while done < requests:
            rate, _ = uvloop.run(throughput(GATEWAY, CHAT, data, 32, 5.0))
            done += int(rate * 5)
            before = before or resident(pid)
        row(f"memory after {done:,} requests (after the first 5 s), MB", "", "",
            f"{resident(pid):.0f} ({before:.0f})")  # fmt: skip


async def self_reported(data: bytes, count: int) -> float:
    client = Client(GATEWAY)
    values = []
    for _ in range(count):
        connection = await client.ask(CHAT, data)
        values.append(float(dict(connection.headers)[b"x-balustrade-overhead-ms"]))
    return statistics.median(values)


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()

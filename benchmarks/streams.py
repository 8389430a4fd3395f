"""Put the stream guard under load: thousands of live streams, what a step costs, memory over time.

    python benchmarks/streams.py [--streams 2000] [--rate 30] [--processes 2] [--seconds 30]
    python benchmarks/streams.py --seconds 600 --every 30    # a soak: memory must stay flat
    python benchmarks/streams.py --confirm cascade           # streams in doubt ask the cascade

Each process has a core of its own and its part of the streams. A stream is an answer of 400 to
1,200 tokens by a scripted model that keeps time; when it ends, the next begins with a request of
its own. Tokens are cut as models cut English, some four characters each: marks apart, words of more
than six letters in two; the text is that of the documentation. A loop judges all tokens that are
due in one step of the rail's `Stream`, whose guard is the shipped monitor, on the thread that a
server's loop would have. A token is late by the time from when it was due to when its verdict was
there; a rule that only flags keeps all streams going. What a step costs is measured with tokens and
with whole words, which cost more. A stream in doubt asks in a thread, as in the gateway, and only
streams that wait like it are in its step. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from balustrade.backends.route import Route
    from balustrade.core.call import Call, Reply

STREAMS, RATE, PROCESSES = 2_000, 30.0, 2
WARM = 10.0
"""Seconds before counting begins; over the first `RAMP` of them streams come in."""
RAMP = 6.0
LATE = 0.100
MOST = 256
"""Streams in one step, as many as the gateway joins (`flow/merge.py`)."""
LONG = 7
"""Characters of a word, with its space, that are one token."""
ASKED = "Tell me the story of a water mill, and how it worked, in a few paragraphs please."


def prose() -> str:
    """Return some ten thousand words of English: what these pages say, without code and tables."""
    pages = sorted((Path(__file__).resolve().parents[1] / "docs").rglob("*.md"))
    text = "\n".join(page.read_text() for page in pages)
    text = re.sub(r"```.*?```|^(?:\||#|!!!|:::).*?$", " ", text, flags=re.DOTALL | re.MULTILINE)
    return " ".join(re.sub(r"`[^`]*`|<[^>]*>|[|*#_]|\]\([^)]*\)|\[", " ", text).split())


SLOTS = 1_000
"""In which a second is cut; tokens that are due in the same one are judged in one step."""


class Due(NamedTuple):
    """When a stream's next token is due, and which stream it is."""

    at: float
    number: int


class Calendar:
    """What is due when, by slots of time."""

    def __init__(self, now: float) -> None:
        self.slot = int(now * SLOTS)
        self.slots: dict[int, list[Due]] = {}

    def add(self, due: Iterable[Due]) -> None:
        """Note what is due; what was due before now comes next."""
        for each in due:
            self.slots.setdefault(max(int(each.at * SLOTS), self.slot), []).append(each)

    def until(self, now: float) -> list[Due]:
        """Take what is due by now, in slots; of much no more than a step holds and a slot."""
        found: list[Due] = []
        while self.slot < int(now * SLOTS) and len(found) < MOST:
            found += self.slots.pop(self.slot, ())
            self.slot += 1
        return found


class Load:
    """One process's streams, and how late their verdicts came."""

    def __init__(self, streams: int, rate: float, seed: int, confirm: str = "") -> None:
        from balustrade.core.call import Classify

        self.confirm = confirm
        self.judged = rail(confirm=confirm)
        self.route = route()
        if confirm:
            self.route.send((Classify(confirm, ("ready?",), ("ready?",), careful=True),))
        self.rng = random.Random(seed)
        self.gap = 1.0 / rate
        self.tokens = tokens(prose())
        self.states: list[Any] = [None] * streams
        self.sources: list[Iterator[str]] = [iter(())] * streams
        for number in range(streams):
            self.begin(number)
            # At first they are anywhere in their answers, as later.
            next(islice(self.sources[number], self.rng.randrange(400), None))
        self.late: Counter[int] = Counter()
        """How many verdicts came so many milliseconds late."""

        self.calendar = Calendar(time.perf_counter())
        self.ended = 0

    def begin(self, number: int) -> None:
        from balustrade.core.content import Content

        self.states[number] = self.judged.start(Content.of(f"{ASKED} ({self.rng.random()})"))
        size = self.rng.randrange(401, 1_200)
        start = self.rng.randrange(len(self.tokens) - size)
        self.sources[number] = iter(self.tokens[start : start + size])

    async def send(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the monitor's calls at once and others in a thread, as the gateway does."""
        from balustrade.core.call import Advance

        if all(isinstance(call, Advance) for call in calls):
            return self.route.send(calls)
        return await self.route.asend(calls)

    def apart(self, due: list[Due]) -> list[list[Due]]:
        """Part streams that may ask from those that do not: in the gateway each steps alone."""
        if not self.confirm:
            return [due]
        waits = [self.states[number].far[0].pause is not None for _, number in due]
        parts = [
            [each for each, own in zip(due, waits, strict=True) if own is so]
            for so in (False, True)
        ]
        return [part for part in parts if part]

    async def step(self, due: list[Due]) -> None:
        """Judge the next token of each stream, or the end of it."""
        from balustrade.flow.run import arun

        states, sources = self.states, self.sources
        numbers = [number for _, number in due]
        chunks = [next(sources[number], "") for number in numbers]
        stepped = await arun(
            self.judged.step([states[number] for number in numbers], chunks), self.send
        )
        done = time.perf_counter()
        for number, (state, _) in zip(numbers, stepped, strict=True):
            states[number] = state
        self.late.update([int((done - at) * 1_000) for at, _ in due])
        over = [number for number, chunk in zip(numbers, chunks, strict=True) if not chunk]
        if over:
            ends = await arun(self.judged.finish([states[number] for number in over]), self.send)
            assert not any(piece.cut for _, piece in ends)
            self.ended += len(over)
            for number in over:
                self.begin(number)
        gap = self.gap
        self.calendar.add([Due(at + gap, number) for at, number in due])

    async def run(self, seconds: float, every: float) -> dict[str, Any]:
        """Keep time for some seconds; return what was measured."""
        now = time.perf_counter()
        order = enumerate(sorted(self.rng.random() for _ in self.states))
        self.calendar.add(Due(now + RAMP * phase, number) for number, phase in order)
        going: set[asyncio.Task[None]] = set()
        begin, end = now + WARM, now + WARM + seconds
        look, memory = begin, []
        is_counting, cpu = False, 0.0
        while now < end:
            if not is_counting and now >= begin:
                is_counting, cpu, self.ended = True, time.process_time(), 0
                self.late.clear()
            if now >= look:
                memory.append(resident())
                look += every
            if due := self.calendar.until(now):
                going |= {asyncio.ensure_future(self.step(some)) for some in self.apart(due)}
                await asyncio.sleep(0)  # in which a step ends, but for one that asks
            else:
                await asyncio.sleep(1 / SLOTS)
            for step in [each for each in going if each.done()]:
                going.remove(step)
                step.result()
            now = time.perf_counter()
        used = time.process_time() - cpu
        return {"late": self.late, "cpu": used / seconds, "ended": self.ended,
                "memory": [*memory, resident()]}  # fmt: skip


def tokens(text: str) -> list[str]:
    """Return a text as a model would write it."""
    found = []
    for piece in re.findall(r" ?\w+| ?[^\w\s]", f" {text}"):
        cut = len(piece) if len(piece) <= LONG else len(piece) // 2
        found += [piece[:cut], piece[cut:]] if cut < len(piece) else [piece]
    return found


def rail(threshold: float = 0.99, confirm: str = "") -> Any:
    from balustrade.core.content import Stage
    from balustrade.core.taxonomy import RESPONSE_HARM
    from balustrade.guards.scm import Scm
    from balustrade.policy.model import Policy, Rule
    from balustrade.rails.rail import Rail
    from balustrade.rails.stream import Stream

    rule = Rule("early", RESPONSE_HARM, guard="scm", action="flag", threshold=threshold)
    return Stream(Rail((Scm(confirm=confirm),), Policy("p", (rule,)), Stage.OUTPUT))


def route() -> Route:
    from balustrade.backends.recurrent import Recurrent
    from balustrade.backends.route import Route
    from balustrade.backends.shipped import makers

    backend = Recurrent()
    backend.load()
    return Route({**makers(), "monitor": lambda: backend})


def tidy() -> None:
    """Set the collector of cycles as the server does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Case(NamedTuple):
    """Streams in a step, and what each is given."""

    batch: int
    cut: bool = False
    """Whether tokens are cut as in the load, and not whole words."""
    since: int = 0
    """Tokens that each has had before."""
    rounds: int = 300
    """Steps that are measured."""


def cost(case: Case, *, whole: bool = False, confirm: str = "") -> float:
    """Return the microseconds of CPU that a token costs, by the rail if `whole`, else the model."""
    batch, cut, since, rounds = case
    from balustrade.core.call import Advance, Onward
    from balustrade.core.content import Content
    from balustrade.flow.run import run

    send, judged = route().send, rail(confirm=confirm)
    words = tokens(prose()) if cut else [f" {word}" for word in prose().split()]
    states: list[Any] = [ASKED] * batch
    if whole:
        states = [judged.start(Content.of(ASKED))] * batch

    def step(number: int) -> None:
        nonlocal states
        chunks = [words[(number + slot) % len(words)] for slot in range(batch)]
        if whole:
            states = [state for state, _ in run(judged.step(states, chunks), send)]
            return
        [reply] = send((Advance("monitor", tuple(states), tuple(chunks)),))
        assert isinstance(reply, Onward)
        states = [text.state for text in reply.texts]

    for number in range(since):
        step(number)
    reached = states
    for number in range(rounds):
        step(number)  # so that the words are known, as most are
    states = reached
    started = time.process_time()
    for number in range(rounds):
        step(number)
    return (time.process_time() - started) / rounds / batch * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS, help="of all processes together")
    parser.add_argument("--rate", type=float, default=RATE, help="tokens a second of each")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=0.0, help="seconds between looks at memory")
    parser.add_argument("--confirm", default="", help="the model that streams in doubt ask")
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker >= 0:
        load = Load(options.streams, options.rate, options.worker, options.confirm)
        tidy()
        done = asyncio.run(load.run(options.seconds, options.every or options.seconds))
        print(json.dumps(done))
        return
    cores = sorted(os.sched_getaffinity(0))
    print(f"Python {platform.python_version()}, {cpu()}, {len(cores)} cores\n")
    steps(options.confirm)
    print()
    load_test(options, cores)


def steps(confirm: str) -> None:
    """Print what a step costs on one core, in a process of its own."""
    row("a step, one core, µs", "model", "rail")
    row("---", "---", "---")
    for label, case in (
        ("batch of 64, a token as in the load", Case(64, cut=True)),
        ("batch of 64, a word", Case(64)),
        ("one stream, a word", Case(1, rounds=2_000)),
        ("one stream, at word 40", Case(1, since=40, rounds=2_000)),
        ("… at word 4,000", Case(1, since=4_000, rounds=2_000)),
    ):
        found = [measured(case, whole, confirm) for whole in (False, True)]
        row(label, *(f"{each:.1f}" for each in found))


def measured(case: Case, whole: bool, confirm: str) -> float:
    """Return the median of five measurements in a fresh process."""
    asked = f"streams.cost(streams.Case(*{tuple(case)!r}), whole={whole}, confirm={confirm!r})"
    five = f"statistics.median({asked} for _ in range(5))"
    code = f"import statistics, streams; streams.tidy(); print({five})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**single(), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def load_test(options: argparse.Namespace, cores: list[int]) -> None:
    """Run the load in processes of its own, each on a core, and print what they say."""
    count = options.processes
    workers = [
        subprocess.Popen(
            [
                *("taskset", "-c", str(cores[number % len(cores)]), sys.executable, __file__),
                *("--worker", str(number), "--rate", str(options.rate)),
                *("--streams", str(options.streams // count + (number < options.streams % count))),
                *("--seconds", str(options.seconds), "--every", str(options.every)),
                *(("--confirm", options.confirm) if options.confirm else ()),
            ],
            env=single(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    said = [worker.communicate()[0] for worker in workers]
    found = [json.loads(text) for text in said]
    counts: dict[int, int] = {}
    for place, times in chain.from_iterable(each["late"].items() for each in found):
        counts[int(place)] = counts.get(int(place), 0) + times
    total = sum(counts.values())
    late = sum(times for place, times in counts.items() if place >= LATE * 1_000)
    row(f"{options.streams:,} streams at {options.rate:g} tokens/s, {count} processes", "")
    row("---", "---")
    row("tokens judged", f"{total:,} ({total / options.seconds:,.0f}/s)")
    row("later than 100 ms", f"{late:,} ({late / max(1, total):.4%})")
    row("lateness p50 / p99 / most, ms", " / ".join(str(share(counts, p)) for p in (0.5, 0.99, 1)))
    row("CPU of each core", ", ".join(f"{each['cpu']:.0%}" for each in found))
    row("answers that ended meanwhile", f"{sum(each['ended'] for each in found):,}")
    for number, each in enumerate(found):
        row(f"memory of process {number}, MB", ", ".join(f"{mb:.0f}" for mb in each["memory"]))


def share(counts: dict[int, int], part: float) -> int:
    """Return the millisecond, rounded up, below which a part of all times lies."""
    wanted, seen = part * sum(counts.values()), 0
    for place in sorted(counts):
        seen += counts[place]
        if seen >= wanted:
            return place + 1
    return 0


def single() -> dict[str, str]:
    """Return an environment in which NumPy keeps to one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()

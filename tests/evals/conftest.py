"""A small guard for these tests: how bad a text is, is written in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from balustrade.backends.local import send
from balustrade.core.call import Flow, compute
from balustrade.core.content import Content
from balustrade.core.guard import TEXT, Latency
from balustrade.core.verdict import Finding, Verdict
from balustrade.evals.subject import Subject, heads_of_ours

THRESHOLDS = {"harm": 0.5, "toxicity": 0.5, "injection": 0.4, "response-harm": 0.6}


class Counting:
    """Scores a text by the number it ends in; fails on a text that says so."""

    name = "counting"
    judges = TEXT
    latency = Latency.MICROSECONDS

    def __init__(self) -> None:
        self.judged: list[str] = []

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        return compute(self._judge, batch)

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        if any("fail" in content.text for content in batch):
            raise RuntimeError("asked to")
        self.judged += [content.text for content in batch]
        return [
            Verdict(self.name, tuple(Finding(name, _score(content.text)) for name in THRESHOLDS))
            for content in batch
        ]


def _score(text: str) -> float:
    return float(text.rpartition(" ")[2])


@pytest.fixture
def counting() -> Callable[..., tuple[Subject, Counting]]:
    def make(revision: str = "1") -> tuple[Subject, Counting]:
        guard = Counting()
        return Subject("counting", guard, send, heads_of_ours(THRESHOLDS), revision), guard

    return make


@pytest.fixture
def rows_file() -> Callable[[Path, Sequence[dict[str, Any]]], Path]:
    def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
        plain = {"label": "safe", "kind": "prompt"}
        lines = [
            msgspec.json.encode({"id": f"{path.stem}-{number}"} | plain | row)
            for number, row in enumerate(rows)
        ]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write

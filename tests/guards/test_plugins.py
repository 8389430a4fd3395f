"""R13: a detector is an ordinary package or file; no account, no token, no call at install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GUARD = """
from balustrade.core.call import compute
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Verdict


class Shouting(Spec, frozen=True):
    name: str = "shouting"
    judges: frozenset[str] = TEXT
    latency: Latency = Latency.MICROSECONDS

    def check(self, batch, /):
        return compute(self._judge, batch, work=len(batch))

    def _judge(self, batch):
        loud = (Finding("tone", 0.9),)
        return [Verdict(self.name, loud * content.text.isupper()) for content in batch]
"""
POLICY = """
name = "quiet"
[[stage.input.guards]]
use = "{use}"
[[stage.input.rules]]
name = "no-shouting"
category = "tone"
"""


def check(folder: Path, use: str, text: str) -> int:
    (folder / "quiet.toml").write_text(POLICY.format(use=use))
    done = subprocess.run(
        [sys.executable, "-m", "balustrade", "check", "--policy", "quiet.toml", text],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rror" not in done.stderr, done.stderr
    return done.returncode


def test_r13_a_guard_is_a_file_that_a_policy_names(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(GUARD)
    assert check(tmp_path, "shouting:Shouting", "STOP IT") == 2
    assert check(tmp_path, "shouting:Shouting", "please stop") == 0


def test_r13_a_guard_is_a_package_that_names_itself(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(GUARD)
    about = tmp_path / "shouting-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[balustrade.guard]\nshouting = shouting:Shouting\n")
    assert check(tmp_path, "shouting", "STOP IT") == 2
    assert check(tmp_path, "shouting", "please stop") == 0

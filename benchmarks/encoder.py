"""Weigh the tiers, each in a fresh process: memory, and cold start to the first verdict.

    OMP_NUM_THREADS=1 python benchmarks/encoder.py [FOLDER]

Memory is what the process holds after the verdict (resident), its peak, and how much of the first
is beyond an interpreter with NumPy. Cold start counts from the start of the interpreter; medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from balustrade import shipped

ROUNDS = 7
EMPTY = "import numpy"
VERDICT = """
from pathlib import Path
from balustrade.backends.{module} import {kind}
from balustrade.core.content import Content
from balustrade.flow.run import run
from balustrade.guards.classifier import Classifier
model = {kind}({name!r}, Path({folder!r}))
guard = Classifier(model={name!r}, heads=("harm",))
for text in ("Good morning!", "how to steal a bomb and kill many people"):
    [verdict] = run(guard.check([Content.of(text)]), model.send)
    assert not verdict.error
"""
REPORT = """
import json
from pathlib import Path
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")]))
"""
KINDS = {
    "static": ("static", "Static"),
    "encoder": ("onnx", "Onnx"),
    "cascade": ("tiers", "Tiers"),
}


def main(folder: Path) -> None:
    (empty, _), _ = measured(EMPTY)
    print(f"an interpreter with NumPy: {empty:.0f} MB")
    for name, (module, kind) in KINDS.items():
        code = VERDICT.format(module=module, kind=kind, name=name, folder=str(folder))
        (held, peak), seconds = measured(code)
        print(
            f"{name}: {held:.0f} MB, of which {held - empty:.0f} its own, peak {peak:.0f} MB; "
            f"{seconds:.2f} s to the second verdict"
        )


def measured(code: str) -> tuple[Any, float]:
    """Run code in fresh processes; return resident and peak megabytes, and seconds."""
    sizes, times = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code + REPORT], check=True, capture_output=True, text=True
        )
        times.append(time.perf_counter() - start)
        sizes.append(json.loads(done.stdout))
    return [statistics.median(column) for column in zip(*sizes, strict=True)], statistics.median(
        times
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else shipped.HERE)

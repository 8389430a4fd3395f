"""Check that nothing the static guard learns from is a copy of a test row.

    python -m balustrade.train.leak --data ../shared/data/dev --bench ../shared/data/bench

Checks the data files against the manifest of the shipped weights, then every row, those of our own
grammar too, against every test row. Ends with 1 if a file is not the one trained on or a copy was
found, and names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from balustrade.data import jsonl
from balustrade.data.leak import leaks
from balustrade.shipped import HERE
from balustrade.train.excluded import excluded
from balustrade.train.grammar import made


def main(data: Path, bench: Path, folder: Path = HERE) -> list[str]:
    """Return what is wrong, a line each; nothing if nothing is."""
    manifest = json.loads((folder / "static.manifest.json").read_bytes())
    wrong = []
    for entry in manifest["data"]:
        file = data / entry["file"]
        if not file.exists():
            wrong.append(f"{file}: trained on, but missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
            wrong.append(f"{file}: not the bytes that were trained on")
    train = [row for file in jsonl.files(data) for row in jsonl.read(file)]
    train = [row for row in train if row.id not in excluded()]
    train += made(train, manifest["config"]["own"], manifest["config"]["seed"])
    test = [row for file in jsonl.files(bench) for row in jsonl.read(file)]
    wrong += [
        f"{leak.train}: {leak.how}, {leak.test} (shingles shared: {leak.share:.2f})"
        for leak in leaks(train, test)
    ]
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="find test rows among training rows")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--bench", type=Path, default=Path("../shared/data/bench"))
    given = parser.parse_args()
    found = main(given.data, given.bench)
    print("\n".join(found) or "no copies found")
    sys.exit(bool(found))

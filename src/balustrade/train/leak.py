"""Check that nothing the shipped guards learn from is a copy of a test row.

    python -m balustrade.train.leak --data ../shared/data/dev \
        --parallel ../shared/data/parallel --bench ../shared/data/bench

Checks the files against the manifests of the shipped weights, then every row, those of our own
phrases, grammar and scenes too, against every test row, those of `evals/twins` included. Ends with
1 if a file is not the one trained on or a copy was found, and names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from balustrade.data import jsonl
from balustrade.data.leak import leaks
from balustrade.evals.task import TWINS
from balustrade.shipped import HERE
from balustrade.train.corpus import NONE, STORIES, Sizes, late, load, stories


def main(data: Path, bench: Path, folder: Path = HERE, parallel: Path = NONE) -> list[str]:
    """Return what is wrong, a line each; nothing if nothing is."""
    wrong = []
    for name in ("static", "encoder", "monitor"):
        path = folder / f"{name}.manifest.json"
        if path.exists():
            wrong += _changed(json.loads(path.read_bytes()), data, parallel)
    sizes = Sizes()
    if parallel == NONE:
        config = json.loads((folder / "static.manifest.json").read_bytes())["config"]
        sizes = Sizes(grammar=config["own"], seed=config["seed"])
    corpus = load(data, parallel, sizes)
    train = [*corpus.rows, *corpus.apart]
    if parallel != NONE:
        train = [*train, *late(), *stories(corpus, STORIES, sizes.seed)]
    test = [row for file in (*jsonl.files(bench), *TWINS) for row in jsonl.read(file)]
    found = {
        f"{leak.train}: {leak.how}, {leak.test} (shingles shared: {leak.share:.2f})": None
        for leak in leaks(train, test)
    }
    return [*dict.fromkeys(wrong), *found]


def _changed(manifest: dict[str, Any], data: Path, parallel: Path) -> list[str]:
    """Return which files are not those that a manifest names."""
    wanted = {data / entry["file"]: entry["sha256"] for entry in manifest["data"]}
    if parallel != NONE:
        wanted |= {parallel / name: sha for name, sha in manifest.get("parallel", {}).items()}
    wrong = []
    for file, sha256 in wanted.items():
        if not file.exists():
            wrong.append(f"{file}: trained on, but missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            wrong.append(f"{file}: not the bytes that were trained on")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="find test rows among training rows")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--bench", type=Path, default=Path("../shared/data/bench"))
    parser.add_argument("--parallel", type=Path, default=Path("../shared/data/parallel"))
    given = parser.parse_args()
    found = main(given.data, given.bench, parallel=given.parallel)
    print("\n".join(found) or "no copies found")
    sys.exit(bool(found))

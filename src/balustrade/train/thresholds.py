"""Measure the thresholds of what ships anew, with its weights as they are.

    python -m balustrade.train.thresholds --data ../shared/data/dev \
        --parallel ../shared/data/parallel --out src/balustrade/shipped

In:   the weights, in `--out`; the rows that were held out of their training, and everyday ones.
Out:  the descriptions of encoder, cascade, ensemble and monitor; in their manifests, by which code
      and which everyday rows they were measured.
Time: about eight minutes on two CPU cores. Same weights and rows, same bytes.

For whoever changes the rows that calibrate (`everyday/`) or how they are used: teaching takes
hours, and is not needed. The static tier's thresholds stand on tables that are taught for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.tiers import Tiers
from balustrade.core.spec import Count, Spec
from balustrade.shipped import describe
from balustrade.train import calm, cascade, doubts, everyday, monitor
from balustrade.train.arguments import parsed
from balustrade.train.calibration import calibrate
from balustrade.train.corpus import Sizes, load
from balustrade.train.manifest import digests, revision, write_description, write_json

TAUGHT = ("encoder", "monitor")
"""Models whose weights stay, and whose manifests say so."""


class Config(Spec, frozen=True):
    """Everything the thresholds depend on, beside the weights, the data and the code."""

    data: str
    parallel: str
    out: str
    long: Count = calm.TEXTS  # long harmless texts that the monitor is measured on
    seed: int = 0


def main(config: Config) -> None:
    """Measure one after the other: each stands on the one before."""
    out = Path(config.out)
    corpus = load(Path(config.data), Path(config.parallel), Sizes(seed=config.seed))
    calibrate(describe("encoder", out), corpus, out)
    print("encoder", flush=True)
    both = cascade.Config(config.data, config.parallel, config.out, seed=config.seed)
    cascade.make(both, corpus)
    how = monitor.Config(config.data, config.parallel, config.out, seed=config.seed)
    kinds = doubts.kinds(corpus, how, config.long)
    engine = Recurrent("monitor", out)
    scores = [calm.heard(engine, texts) for texts in kinds]
    write_description(out, calm.limited(describe("monitor", out), scores))
    doubts.write(kinds, out, Tiers(doubts.OTHER, out))
    print("monitor", flush=True)
    note(out, TAUGHT)


def note(out: Path, names: Iterable[str]) -> None:
    """Write into manifests by what thresholds were measured; what taught the weights stays."""
    folder = Path(everyday.__file__).parent
    rows = digests(folder.parent, (f"{folder.name}/**/*.tsv", f"{folder.name}/**/*.txt"))
    for name in names:
        path = out / f"{name}.manifest.json"
        known: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        known["own"] = {file: sha for file, sha in known["own"].items() if file not in rows}
        write_json(path, known | {"calibrated": {**revision(), "own": rows}})


if __name__ == "__main__":
    main(parsed(Config, "measure the thresholds of what ships anew"))

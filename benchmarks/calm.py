"""Count how often the stream guard stops what is not about harm, by length.

    python benchmarks/calm.py FILE.jsonl.gz ... [--singly 6000] [--long 200]

Reads rows that are labelled harmless as if each were an answer: first some one by one, then all of
them one after the other until a text has 500 to 4,000 words. No row stands in two of those, so that
they are independent of one another. The guard, which asks the cascade, and its threshold are those
of the presets. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.tiers import Tiers
from balustrade.data import jsonl
from balustrade.shipped import describe
from balustrade.text.growing import every
from balustrade.train.doubts import OTHER, highs

RATE = 0.01
"""The rate of false alarms whose shipped threshold is used."""
CLASSES = ((500, 1_000), (1_001, 2_000), (2_001, 4_000))


def stopped(texts: Sequence[str]) -> list[bool]:
    """Return whether each text is stopped, by the guard that serves."""
    known = describe("monitor")
    assert known.stop is not None
    limit = known.confirmed_for(OTHER, RATE)
    scores = highs(Recurrent(), Tiers(OTHER), known.stop, [("", text) for text in texts])
    return [limit is not None and score >= limit for score in scores]


def joined(texts: list[str], count: int, rng: Random) -> list[tuple[int, str]]:
    """Return longer texts with their words, made of others that are used up by it."""
    made = []
    for _ in range(count):
        size, wanted, parts = 0, rng.randint(CLASSES[0][0], CLASSES[-1][1] - 200), list[str]()
        while size < wanted and texts:
            parts.append(texts.pop())
            size += len(every(parts[-1]))
        made.append((size, " ".join(parts)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--singly", type=int, default=6_000)
    parser.add_argument("--long", type=int, default=200)
    options = parser.parse_args()
    rng = Random(0)
    texts = [row.text for file in options.files for row in jsonl.read(file) if not row.is_unsafe]
    rng.shuffle(texts)
    alone = stopped(texts[: options.singly])
    print("| words | texts | stopped |\n| --- | ---: | ---: |")
    print(f"| one row | {len(alone)} | {sum(alone)} |")
    long = joined(texts, options.long, rng)
    ends = stopped([text for _, text in long])
    for low, high in CLASSES:
        some = [end for (size, _), end in zip(long, ends, strict=True) if low <= size <= high]
        print(f"| {low:,} to {high:,} | {len(some)} | {sum(some)} |")


if __name__ == "__main__":
    main()

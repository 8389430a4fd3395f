"""Count how often the stream guard stops what is not about harm, by length.

    python benchmarks/calm.py FILE.jsonl.gz ... [--confirm cascade] [--singly 6000] [--long 200]

Reads rows that are labelled harmless as if each were an answer: first some one by one, then all of
them one after the other until a text has 500 to 4,000 words. No row stands in two of those, so that
they are independent of one another. The guard and its threshold are the presets'. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

from balustrade.backends.route import Route
from balustrade.backends.shipped import makers
from balustrade.core.content import Content, Role
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.data import jsonl
from balustrade.flow.run import run
from balustrade.guards.scm import Scm
from balustrade.text.growing import every

RATE = 0.01
"""The rate of false alarms whose shipped threshold is used."""
CLASSES = ((500, 1_000), (1_001, 2_000), (2_001, 4_000))
AT_ONCE = 64


def stopped(guard: Scm, texts: Sequence[str]) -> list[bool]:
    """Return whether each text is stopped."""
    limit = guard.threshold_for(RESPONSE_HARM, RATE)
    route = Route(makers())
    found: list[bool] = []
    for first in range(0, len(texts), AT_ONCE):
        some = [Content.of(text, Role.ASSISTANT) for text in texts[first : first + AT_ONCE]]
        highs = [
            max((finding.score for finding in verdict.findings), default=0.0)
            for verdict in run(guard.check(some), route.send)
        ]
        found += [limit is not None and high >= limit for high in highs]
    return found


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
    parser.add_argument(
        "--confirm", default="cascade", help="the model that must agree; none if empty"
    )
    parser.add_argument("--singly", type=int, default=6_000)
    parser.add_argument("--long", type=int, default=200)
    options = parser.parse_args()
    rng, guard = Random(0), Scm(confirm=options.confirm)
    texts = [row.text for file in options.files for row in jsonl.read(file) if not row.is_unsafe]
    rng.shuffle(texts)
    alone = stopped(guard, texts[: options.singly])
    print("| words | texts | stopped |\n| --- | ---: | ---: |")
    print(f"| one row | {len(alone)} | {sum(alone)} |")
    long = joined(texts, options.long, rng)
    ends = stopped(guard, [text for _, text in long])
    for low, high in CLASSES:
        some = [end for (size, _), end in zip(long, ends, strict=True) if low <= size <= high]
        print(f"| {low:,} to {high:,} | {len(some)} | {sum(some)} |")


if __name__ == "__main__":
    main()

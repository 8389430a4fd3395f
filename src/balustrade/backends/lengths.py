"""Batches of like lengths: no short text pays for a long one beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], most: int, tokens: int) -> Iterator[list[int]]:
    """Yield the slots of each batch, the shortest first.

    Args:
        lengths: Tokens of each item.
        most: Items a batch may have.
        tokens: Tokens a batch may have once it is padded; an item that has more stands alone.
    """
    batch: list[int] = []
    for slot in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[slot] > tokens):
            yield batch
            batch = []
        batch.append(slot)
    if batch:
        yield batch

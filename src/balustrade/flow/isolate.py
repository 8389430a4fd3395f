"""Halve a failing batch until only what fails alone has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from balustrade.core.call import Flow
from balustrade.core.errors import GuardError
from balustrade.flow.gather import failure

A = TypeVar("A")
T = TypeVar("T")


def isolate(
    check: Callable[[Sequence[A]], Flow[Sequence[T]]], batch: Sequence[A]
) -> Flow[list[T | GuardError]]:
    """Check a batch so that one poisoned item cannot fail its neighbours.

    A batch of one that fails gives a GuardError in its slot. A wrong number of answers is a
    failure too: nobody can tell which item an answer belongs to. Costs at most
    2 n - 1 checks for n items, and one where nothing fails.
    """
    try:
        answers = yield from check(batch)
        if len(answers) != len(batch):
            raise GuardError(f"gave {len(answers)} verdicts for {len(batch)} contents")
    except Exception as error:  # noqa: BLE001 - any failure is contained here
        if len(batch) == 1:
            return [failure(error)]
        middle = len(batch) // 2
        left = yield from isolate(check, batch[:middle])
        right = yield from isolate(check, batch[middle:])
        return left + right
    return list(answers)

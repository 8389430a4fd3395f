"""Advance many flows in step, so that their calls travel as one round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from balustrade.core.call import Call, Flow
from balustrade.core.errors import BalustradeError, GuardError

T = TypeVar("T")


def gather(flows: Sequence[Flow[T]]) -> Flow[list[T | GuardError]]:
    """Run flows side by side; one that raises becomes a GuardError in its own slot."""
    results: list[T | GuardError] = [_UNFINISHED] * len(flows)
    open_rounds: list[tuple[int, tuple[Call, ...]]] = []
    for slot, flow in enumerate(flows):
        try:
            open_rounds.append((slot, next(flow)))
        except StopIteration as stop:
            results[slot] = stop.value
        except Exception as error:  # noqa: BLE001 - one flow's failure must not reach another's
            results[slot] = failure(error)
    while open_rounds:
        calls = tuple(call for _, round_ in open_rounds for call in round_)
        replies = yield calls
        position = 0
        still_open: list[tuple[int, tuple[Call, ...]]] = []
        for slot, round_ in open_rounds:
            end = position + len(round_)
            try:
                still_open.append((slot, flows[slot].send(replies[position:end])))
            except StopIteration as stop:
                results[slot] = stop.value
            except Exception as error:  # noqa: BLE001 - as above
                results[slot] = failure(error)
            position = end
        open_rounds = still_open
    return results


def failure(error: Exception) -> GuardError:
    """Return the guard error for anything a guard raised, without the text it was judging."""
    if isinstance(error, GuardError):
        return error
    if isinstance(error, BalustradeError):
        wrapped = GuardError(str(error))
    else:
        wrapped = GuardError(f"raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


_UNFINISHED = GuardError("did not finish")

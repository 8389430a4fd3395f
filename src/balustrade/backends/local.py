"""Answer computations here: at once when driven sync, on the loop or in threads when async."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from balustrade.core.call import Call, Compute, Failed, Reply, Value, is_light
from balustrade.core.errors import BalustradeError


def send(calls: tuple[Call, ...]) -> list[Reply]:
    """Answer computations one after the other; anything else is a failure, as nobody is asked."""
    return [_answer(call) for call in calls]


class Local:
    """The same for an event loop: light computations stay on it, others go to threads.

    Args:
        threads: How many computations may run at once. A computation that never returns keeps
            its thread, so the deadline that gave up on it is counted against this number.
    """

    def __init__(self, threads: int = 16) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="balustrade-compute")

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer computations; anything else is a failure."""
        if all(map(is_light, calls)):
            return send(calls)
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._pool, _answer, call) for call in calls)
        )

    def close(self) -> None:
        """Take no more work; threads that hang are left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answer(call: Call) -> Reply:
    if not isinstance(call, Compute):
        model = getattr(call, "model", "")
        return Failed(f"no backend answers for model {model!r}")
    try:
        return Value(call.function(call.argument))
    except BalustradeError as error:
        return Failed(str(error))
    except Exception as error:  # noqa: BLE001 - a failure is a reply
        # Its message may quote what was judged, and replies are logged.
        return Failed(f"raised {type(error).__name__}")

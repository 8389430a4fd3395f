from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from balustrade.backends import local
from balustrade.backends.local import Local
from balustrade.core.call import Compute, Embed, Failed, Reply, Value


def broken(_: object) -> None:
    raise ValueError("a secret text")


def test_a_computation_that_raises_is_a_failure_that_does_not_tell_the_text() -> None:
    [reply] = local.send((Compute(broken, "a secret text"),))
    assert reply == Failed("raised ValueError")


def test_what_needs_a_model_is_a_failure_that_names_it() -> None:
    assert local.send((Embed("m", ("x",)),)) == [Failed("no backend answers for model 'm'")]


def test_heavy_computations_run_at_once() -> None:
    backend = Local(3)
    meeting = threading.Barrier(3, timeout=10)

    async def ask() -> Sequence[Reply]:
        return await backend.asend(
            tuple(Compute(lambda _: meeting.wait() < 3, n) for n in range(3))
        )

    assert asyncio.run(ask()) == [Value(True)] * 3
    backend.close()


def test_r17_one_backend_serves_several_loops_in_turn() -> None:
    backend = Local(1)

    async def ask() -> Sequence[Reply]:
        return await backend.asend((Compute(abs, -1),))

    assert [asyncio.run(ask()) for _ in range(3)] == [[Value(1)]] * 3
    backend.close()

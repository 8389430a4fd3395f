from __future__ import annotations

import asyncio
from collections.abc import Sequence

from balustrade.backends.local import Local
from balustrade.backends.route import Route
from balustrade.core.call import Call, Compute, Embed, Failed, Generate, Reply, Texts, Value


class Named:
    """Answers with its name."""

    def __init__(self, name: str, made: list[str], replies: int = 1) -> None:
        made.append(name)
        self._name = name
        self._replies = replies

    def send(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        if self._name == "broken":
            raise ConnectionError("gone")
        return [Texts((self._name,)) for _ in calls] * self._replies

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        return self.send(calls)


def route(made: list[str]) -> Route:
    return Route(
        {
            "a": lambda: Named("a", made),
            "b": lambda: Named("b", made),
            "broken": lambda: Named("broken", made),
            "chatty": lambda: Named("chatty", made, 2),
        },
        Local(1),
    )


ASKED: tuple[Call, ...] = (
    Generate("a", ("x",)),
    Compute(abs, -1),
    Generate("b", ("x",)),
    Generate("a", ("y",)),
    Embed("nobody", ("z",)),
    Generate("broken", ("x",)),
    Generate("chatty", ("x",)),
)
EXPECTED = [
    Texts(("a",)),
    Value(1),
    Texts(("b",)),
    Texts(("a",)),
    Failed("no backend answers for model 'nobody'; known models: a, b, broken, chatty"),
    Failed("gone"),
    Failed("a backend gave 2 replies for 1 calls"),
]


def test_each_call_goes_to_its_models_backend_and_failures_stay_with_their_calls() -> None:
    made = route([])
    assert made.send(ASKED) == EXPECTED
    assert asyncio.run(_asked(made)) == EXPECTED
    made.close()


async def _asked(made: Route) -> Sequence[Reply]:
    return await made.asend(ASKED)


def test_a_backend_is_made_once_and_only_when_it_is_asked() -> None:
    names: list[str] = []
    made = route(names)
    assert names == []
    made.send((Generate("a", ("x",)), Generate("a", ("y",))))
    asyncio.run(_asked_one(made))
    assert names == ["a"]
    made.close()


async def _asked_one(made: Route) -> Sequence[Reply]:
    return await made.asend((Generate("a", ("z",)),))

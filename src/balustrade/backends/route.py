"""Model names to backends: computations stay here, each other call goes to its model's backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from balustrade.backends.local import Local
from balustrade.backends.local import send as local_send
from balustrade.core.call import Call, Compute, Failed, Reply
from balustrade.core.errors import BalustradeError
from balustrade.core.registry import load
from balustrade.flow.run import matched

SCHEMES = {"hub": "balustrade.backends.hub:Hub"}
"""What makes the backend of a model `SCHEME:NAME` that nobody else answers for, from its name."""


class Backend(Protocol):
    """Answers calls for its models, sync and async alike."""

    def send(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer each call, in order."""
        ...

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        """Answer each call, in order, without holding up the loop."""
        ...


class Route:
    """A send that knows who answers for which model.

    Args:
        backends: For each model name, what makes its backend; called once, when first needed.
        local: What answers computations.
    """

    def __init__(
        self, backends: Mapping[str, Callable[[], Backend]], local: Local | None = None
    ) -> None:
        self._makers = dict(backends)
        self._made: dict[str, Backend] = {}
        self._local = local or Local()

    @property
    def models(self) -> tuple[str, ...]:
        """Names that are answered for."""
        return tuple(self._makers)

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        """Answer each call in order; a failure is a reply."""
        replies: list[Reply] = []
        for call in calls:
            if isinstance(call, Compute):
                replies += local_send((call,))
                continue
            try:
                replies += matched((call,), self._backend(call.model).send((call,)))
            except Exception as error:  # noqa: BLE001 - a failure is a reply
                replies.append(_failed(error))
        return replies

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the calls at once, each model's apart; a failure is a reply."""
        if len(calls) == 1:
            return await self._ask(calls)
        groups: dict[str, list[int]] = {}
        for slot, call in enumerate(calls):
            groups.setdefault("" if isinstance(call, Compute) else call.model, []).append(slot)
        if len(groups) == 1:
            return await self._ask(calls)
        answers = await asyncio.gather(
            *(self._ask(tuple(calls[slot] for slot in slots)) for slots in groups.values())
        )
        replies: list[Reply] = [Failed("no answer")] * len(calls)
        for slots, group in zip(groups.values(), answers, strict=True):
            for slot, reply in zip(slots, group, strict=True):
                replies[slot] = reply
        return replies

    async def _ask(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        first = calls[0]
        try:
            if isinstance(first, Compute):
                return await self._local.asend(calls)
            return matched(calls, await self._backend(first.model).asend(calls))
        except Exception as error:  # noqa: BLE001 - a failure is a reply, to each call
            return [_failed(error)] * len(calls)

    def _backend(self, model: str) -> Backend:
        if model not in self._made:
            maker = self._makers.get(model) or _by_scheme(model)
            if maker is None:
                known = ", ".join(sorted(self._makers)) or "none"
                raise LookupError(f"no backend answers for model {model!r}; known models: {known}")
            # Of two threads that come first at once, one's is kept, and so loaded once.
            return self._made.setdefault(model, maker())
        return self._made[model]

    def load(self) -> list[str]:
        """Have each backend that was needed read all it may yet need; return what went wrong."""
        errors = []
        for backend in list(self._made.values()):
            try:
                getattr(backend, "load", lambda: None)()
            except BalustradeError as error:
                errors.append(str(error))
        return errors

    def close(self) -> None:
        """Let go of threads and connections."""
        self._local.close()
        for backend in self._made.values():
            close = getattr(backend, "close", None)
            if close:
                close()


def _by_scheme(model: str) -> Callable[[], Backend] | None:
    scheme, colon, name = model.partition(":")
    if not colon or scheme not in SCHEMES:
        return None
    make = cast("Callable[[str], Backend]", load(f"model {model!r}", SCHEMES[scheme]))
    return lambda: make(name)


def _failed(error: Exception) -> Failed:
    text = error.args[0] if isinstance(error, LookupError) and error.args else str(error)
    return Failed(str(text) or type(error).__name__)

"""Who answers a conversation that the gateway itself holds: a configured model, or an upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from balustrade.backends import openai_wire as wire
from balustrade.backends.openai import REFUSED
from balustrade.core.call import Call, Chat, Failed, Reply, Spoken
from balustrade.core.errors import BackendError
from balustrade.gateway.http import HttpError, Request
from balustrade.gateway.upstream import Complaint, Target
from balustrade.gateway.wire import encode

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PATH = "/chat/completions"


class Speaker:
    """Answer `Chat` calls by the model's backend where there is one, else by its upstream.

    Upstreams are asked with the most options they are known to take (a schema of the answer,
    log-probabilities), and with fewer where they refuse.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._rungs: dict[str, int] = {}

    async def __call__(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer each call, in order; a failure is a reply."""
        return await asyncio.gather(*map(self._answer, calls))

    async def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Chat) or call.model in self._state.route.models:
            [reply] = await self._state.route.asend((call,))
            return reply
        started = time.perf_counter()
        said = await self._tried(call)
        return replace(said, seconds=time.perf_counter() - started)

    async def _tried(self, call: Chat) -> Spoken | Failed:
        try:
            target = self._state.upstreams.find(call.model)
            return await self._ask(call, target)
        except (HttpError, BackendError) as error:
            return Failed(str(error))
        except msgspec.DecodeError as error:
            return Failed(f"model {call.model!r} gave an answer of another form: {error}")

    async def _ask(self, call: Chat, target: Target) -> Spoken:
        upstream, request = target.upstream, Request("POST", PATH)
        start = self._rungs.get(upstream.name, 0)
        tries = wire.tries(
            lambda rung: wire.converse(call, target.model, rung), wire.CONVERSES, start
        )
        refusal: Complaint | None = None
        for number, body in tries:
            try:
                reply = await upstream.post(request, PATH, encode(body))
            except Complaint as error:
                if error.status not in REFUSED:
                    raise
                refusal = error
                continue
            self._rungs[upstream.name] = max(self._rungs.get(upstream.name, 0), number)
            return wire.spoken(call, reply.body)
        assert refusal is not None
        raise refusal

"""Deadlines and retries: wrappers around an asynchronous send."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from balustrade.core.call import Call, Chat, Failed, Generate, Reply, is_light
from balustrade.flow.run import AsyncSend


def deadline(send: AsyncSend, seconds: float) -> AsyncSend:
    """Answer each call within `seconds`, or with a failure that says so; others are kept.

    Light computations run on the loop and cannot be interrupted, so they are not timed.
    """

    async def limited(calls: tuple[Call, ...]) -> Sequence[Reply]:
        if all(map(is_light, calls)):
            return await send(calls)
        return await asyncio.gather(*(_within(send, call, seconds) for call in calls))

    return limited


async def _within(send: AsyncSend, call: Call, seconds: float) -> Reply:
    task = asyncio.ensure_future(send((call,)))
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if done:
        return task.result()[0]
    task.cancel()
    return Failed(f"{_who(call)} did not answer within {seconds:g} s", seconds)


def _who(call: Call) -> str:
    model = getattr(call, "model", "")
    return f"model {model!r}" if model else "the computation"


def retry(send: AsyncSend, attempts: int, wait_seconds: float) -> AsyncSend:
    """Ask again for what failed, up to `attempts` times in all, doubling the wait each time."""

    async def insistent(calls: tuple[Call, ...]) -> Sequence[Reply]:
        replies = list(await send(calls))
        for attempt in range(1, attempts):
            failed = [
                slot
                for slot, (call, reply) in enumerate(zip(calls, replies, strict=True))
                if isinstance(reply, Failed) and _is_repeatable(call)
            ]
            if not failed:
                break
            await asyncio.sleep(wait_seconds * 2 ** (attempt - 1))
            again = await send(tuple(calls[slot] for slot in failed))
            for slot, reply in zip(failed, again, strict=True):
                replies[slot] = reply
        return replies

    return insistent


def _is_repeatable(call: Call) -> bool:
    return isinstance(call, Generate | Chat) or hasattr(call, "texts") or hasattr(call, "prompts")

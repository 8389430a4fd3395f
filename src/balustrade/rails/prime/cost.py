"""What each call of a routed request cost: the numbers that came with its reply."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from balustrade.core.call import Chat, Failed, Reply, Spoken
from balustrade.core.digest import digest

Purpose = Literal["router", "reevaluation", "answer"]
"""Whether the guard was asked for a route, or the main model for a careful or a free answer."""


class Cost(Struct, frozen=True):
    """What one call cost."""

    role: Purpose
    prompt: str = ""
    """SHA-256 of the messages (core/digest.py); empty where nobody needs it."""

    seconds: float = 0.0
    """How long its reply took, or was waited for in vain; 0 if it came from memory."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


def cost(role: Purpose, call: Chat, reply: Reply) -> Cost:
    """Return what a call cost, as far as its reply says; a failure's tokens are not known."""
    prompt = digest(call.messages)
    match reply:
        case Spoken():
            tokens = reply.prompt_tokens, reply.completion_tokens
            return Cost(role, prompt, reply.seconds, *tokens)
        case Failed():
            return Cost(role, prompt, reply.seconds)
        case _:
            return Cost(role, prompt)

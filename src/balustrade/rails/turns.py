"""Which rail judges what of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from balustrade.core.content import Content, Role, Stage, ToolCall
from balustrade.core.decision import Decision

REACH = 50
"""Messages before a turn that guards are shown; a bound on work, not on what is judged."""

_STAGE = {
    Role.SYSTEM: Stage.INPUT,
    Role.USER: Stage.INPUT,
    Role.TOOL: Stage.RETRIEVAL,
    Role.DOCUMENT: Stage.RETRIEVAL,
}


class Turn(Struct, frozen=True):
    """What one rail judges of one message."""

    message: int
    """The message's number in the conversation, or the answer's among its alternatives."""

    first: int
    """The number, in the message, of the first part that is judged here."""

    stage: Stage
    content: Content


class Judged(Struct, frozen=True):
    """A turn and what was decided about it."""

    turn: Turn
    decision: Decision


def new_from(messages: Sequence[Content]) -> int:
    """Return the number of the first message of the new turn: all after the last answer.

    A conversation that ends with an answer (to be continued) has that answer as its new turn.
    """
    for number in range(len(messages) - 2, -1, -1):
        if messages[number].role is Role.ASSISTANT:
            return number + 1
    return 0


def turns(messages: Sequence[Content], number: int) -> Iterator[Turn]:
    """Yield what is to be judged of a message, with the conversation before it as its history."""
    message = messages[number]
    history = tuple(messages[max(0, number - REACH) : number])
    if message.role is Role.ASSISTANT:
        yield from answer_turns(message, number, history)
    else:
        content = Content(message.parts, message.role, history)
        yield Turn(number, 0, _STAGE[message.role], content)


def answer_turns(message: Content, number: int, history: tuple[Content, ...]) -> Iterator[Turn]:
    """Yield the words of an answer for the output rail, and each tool call for the tool rail."""
    parts = message.parts
    said = next((n for n, part in enumerate(parts) if isinstance(part, ToolCall)), len(parts))
    if said or not parts:
        yield Turn(number, 0, Stage.OUTPUT, Content(parts[:said], Role.ASSISTANT, history))
    for first in range(said, len(parts)):
        content = Content((parts[first],), Role.ASSISTANT, history)
        yield Turn(number, first, Stage.TOOL, content)

"""Where a watched stream is: a value, so that it can be copied, moved and replayed."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.call import Advanced, Heard
from balustrade.guards.doubt import BEGUN, READ, Doubt, Question


class Hit(Struct, frozen=True, gc=False):
    """A word that counts: which of the stream's words it is, and what was heard there."""

    place: int
    word: Heard


class Pause(Struct, frozen=True):
    """Words that wait since one that counts, in case more of them follow."""

    start: int
    """Where the first of them begins."""
    until: int
    """How many words must have been judged before they leave."""
    asked: bool = False
    """Whether another model has judged them already, and not let them by."""


class Watched(Struct, frozen=True, gc=False):
    """Where a stream is; bounded, however long the stream."""

    memory: Any
    """The model's state, or the request before the first chunk."""
    size: int = 0
    """Characters given."""
    judged: int = 0
    """Up to here every word was judged."""
    open: int = 0
    """Where the word begins that is not whole yet."""
    ahead: tuple[Heard, ...] = ()
    """Words that were read with the last chunk but not yet judged."""
    seen: int = 0
    """Words that were judged."""
    hits: tuple[Hit, ...] = ()
    level: float = 0.0
    """Leaky: hits that are not forgotten."""
    lowest: float = 1.0
    """Leaky: the lowest score among them."""
    best: float = 0.0
    """The highest score that was reported."""
    starts: tuple[int, ...] = ()
    """Where the last words begin that are held back."""
    pause: Pause | None = None
    request: str = ""
    """What is answered, where another model may be asked."""
    text: str = ""
    """The end of what was given, likewise."""
    doubt: Doubt | None = None
    due: int = BEGUN
    """How many words must have been judged before the other model is asked."""
    asks: bool = False
    """Whether it is to be asked now."""

    def question(self) -> Question:
        """Return what the other model is to judge."""
        assert self.doubt is not None
        end = self.doubt.end - (self.size - len(self.text))
        return Question(self.request, self.text[max(0, end - READ) : end])


def read_on(state: Watched, read: Advanced, chunk: str, *, keeps: bool) -> Watched:
    """Return the state with what was read of a chunk; if it `keeps` text, with its end."""
    grown = replace(
        state,
        memory=read.state,
        size=state.size + len(chunk),
        open=read.open,
        ahead=(*state.ahead, *read.words),
    )
    if not keeps:
        return grown
    needed = state.doubt.end if state.doubt else state.judged
    over = needed - READ - (state.size - len(state.text))
    return replace(grown, text=state.text[max(0, over) :] + chunk)


def passed(state: Watched, count: int, leak: float) -> Watched:
    """Return the state after words that count for nothing."""
    if not count:
        return state
    level = max(0.0, state.level - leak * count)
    return replace(state, seen=state.seen + count, level=level)


def rested(state: Watched, calm: int, leak: float) -> Watched:
    """Return the state once all words were judged, the last `calm` of which count for nothing.

    `passed` and `settled` in one copy: most steps of all streams end here.
    """
    if state.ahead:
        return replace(
            state,
            judged=max(state.ahead[-1].end, state.open),
            ahead=(),
            seen=state.seen + calm,
            level=max(0.0, state.level - leak * calm),
        )
    return replace(state, judged=state.open) if state.open > state.judged else state


def settled(state: Watched, ahead: tuple[Heard, ...], last: Heard) -> Watched:
    """Return the state once a word was the last that was judged."""
    return replace(state, judged=last.end if ahead else max(last.end, state.open), ahead=ahead)

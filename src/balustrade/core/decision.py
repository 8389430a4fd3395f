"""What a policy decides from the evidence."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from balustrade.core.content import Content
from balustrade.core.verdict import Span, Verdict


class Action(IntEnum):
    """What follows, ordered by severity: the most severe wins."""

    ALLOW = 0
    FLAG = 1
    REDACT = 2
    REGENERATE = 3
    ESCALATE = 4
    BLOCK = 5

    @property
    def word(self) -> str:
        """The action as policy files and wire formats write it."""
        return self.name.lower()

    @property
    def stops(self) -> bool:
        """Whether the content may not go on as it is, not even masked."""
        return self >= Action.REGENERATE


class Mask(Struct, frozen=True):
    """A span that was taken out, and what stands in its place; never what stood there."""

    span: Span
    category: str
    placeholder: str


class Decision(Struct, frozen=True):
    """What a policy decided about one content."""

    action: Action
    content: Content
    """As it may go on: redacted where the policy asks for it."""

    verdicts: tuple[Verdict, ...] = ()
    rule: str = ""
    """The rule that fired, `on_error` or `on_unjudged`; empty if none did."""

    revision: str = ""
    """Digest of the policy that decided."""

    unjudged: tuple[int, ...] = ()
    """Numbers of the parts that no guard in force can judge."""

    masks: tuple[Mask, ...] = ()
    """Spans of the original content that were redacted."""

    stage: str = ""
    """The stage it was judged at."""

    @property
    def flagged(self) -> bool:
        """Whether any rule fired, or something could not be judged and that counts."""
        return self.action > Action.ALLOW

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the guards that could not judge."""
        return tuple(verdict.guard for verdict in self.verdicts if verdict.error)

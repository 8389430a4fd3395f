"""How much of a content a record keeps: its digest alone, its text without the masked, or all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from msgspec.structs import replace

from balustrade.core.content import Content, Image, Part, Table, Text, ToolCall, Video, words
from balustrade.core.decision import Decision
from balustrade.core.digest import digest
from balustrade.core.errors import ContentError
from balustrade.core.taxonomy import HARM, HAZARDS, RESPONSE_HARM, TOXICITY
from balustrade.core.verdict import Span
from balustrade.policy.redact import Mark, redact

VISIBLE = frozenset({HARM, TOXICITY, RESPONSE_HARM, *(hazard.name for hazard in HAZARDS)}) - {
    "privacy"
}
"""Categories whose spans may be read in a masked record, because a reviewer must see the harm.
Every other category, known to us or not, is masked: it may be a card, a password, a name."""

WITHHELD = "[withheld]"

_LONG_ENOUGH = 4
"""Originals from this length on are masked wherever else they stand, too."""


class Keep(StrEnum):
    """What a record keeps of a content."""

    DIGEST = "digest"
    MASKED = "masked"
    FULL = "full"


def kept(decision: Decision, original: Content, keep: Keep) -> Content | None:
    """Return what a record may hold of the original; never its history, never media bytes.

    With `MASKED`, no text that was masked or found to be private is in it: not in its place, and
    from four characters on nowhere else in the content either. A part in which that cannot be
    done is withheld whole.
    """
    if keep is Keep.DIGEST:
        return None
    alone = replace(original, history=())
    if keep is Keep.FULL:
        return replace(alone, parts=tuple(_without_bytes(part) for part in alone.parts))
    marks = private_marks(decision)
    try:
        masked = redact(alone, marks, "mask").content
    except ContentError:
        # A guard gave a span outside its part: what it meant to hide cannot be known.
        return replace(alone, parts=tuple(_withheld(part) for part in alone.parts))
    clean = scrubber(originals(alone, marks))
    return replace(masked, parts=tuple(_scrubbed(part, clean) for part in masked.parts))


def private_marks(decision: Decision) -> list[Mark]:
    """Return what was redacted, and what a finding of a private category points at."""
    marks = [Mark(mask.span, mask.category) for mask in decision.masks]
    marks += [
        Mark(finding.span, finding.category)
        for verdict in decision.verdicts
        for finding in verdict.findings
        if finding.span is not None and finding.category not in VISIBLE
    ]
    return marks


def originals(content: Content, marks: Sequence[Mark]) -> list[str]:
    """Return the texts that marks point at, if long enough to be told from chance; longest first.

    Spans that lie outside their part point at nothing.
    """
    found = {_at(content, mark.span) for mark in marks}
    return sorted((text for text in found if len(text) >= _LONG_ENOUGH), key=lambda t: (-len(t), t))


def scrubber(hidden: Sequence[str]) -> Callable[[str], str]:
    """Return a function that takes every hidden text out of a text, or withholds it whole."""

    def scrub(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "[REDACTED]")
        # What stands in for one secret may spell, or join into, another.
        for choice in (text, WITHHELD):
            if not any(secret in choice for secret in hidden):
                return choice
        return ""

    return scrub


def _at(content: Content, span: Span) -> str:
    if not 0 <= span.part < len(content.parts):
        return ""
    return words(content.parts[span.part])[span.start : span.end]


def _scrubbed(part: Part, scrub: Callable[[str], str]) -> Part:
    match part:
        case Text(text):
            return Text(scrub(text))
        case ToolCall(name, arguments, identifier):
            return ToolCall(scrub(name), scrub(arguments), scrub(identifier))
        case Table(columns, rows):
            clean = tuple(tuple(_cells(row, scrub)) for row in rows)
            return Table(tuple(map(scrub, columns)), clean)
        case Image() | Video():
            return replace(_withheld_media(part), media_type=scrub(part.media_type))


def _cells(
    row: Iterable[str | float | bool | None], scrub: Callable[[str], str]
) -> Iterable[str | float | bool | None]:
    for cell in row:
        clean = scrub(str(cell))
        yield cell if clean == str(cell) else clean


def _withheld(part: Part) -> Part:
    match part:
        case Text():
            return Text(WITHHELD)
        case ToolCall():
            return ToolCall(WITHHELD, "{}")
        case Table():
            return Table(())
        case Image() | Video():
            return _withheld_media(part)


def _without_bytes(part: Part) -> Part:
    if isinstance(part, Image | Video) and part.data:
        return _withheld_media(part)
    return part


def _withheld_media(part: Image | Video) -> Image | Video:
    """Name a medium by its digest: its address may hold a token, its bytes would fill the log."""
    return replace(part, url=f"sha256:{digest(part)}", data=b"")

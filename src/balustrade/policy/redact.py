"""Take spans out of a content, and put back what reversible placeholders stand for.

What was taken out lives in a `Vault` for one request and nowhere else: a vault is not a Struct, so
nothing writes it to a log or a wire, and its repr shows how much it holds, never what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, assert_never

from msgspec.structs import replace as changed

from balustrade.core.content import Content, Part, Text, ToolCall, words
from balustrade.core.decision import Mask
from balustrade.core.errors import ContentError
from balustrade.core.verdict import Finding, Span
from balustrade.policy.quoted import Place, is_json, places
from balustrade.policy.vault import Vault

Style: TypeAlias = Literal["mask", "replace", "drop", "reversible"]


class Mark(NamedTuple):
    """A place to take out, and the category that gives its placeholder a name."""

    span: Span
    category: str


class Redacted(NamedTuple):
    """A content as it may go on, what was taken out of it, and the way back."""

    content: Content
    masks: tuple[Mask, ...]
    """One for each merged span, in order; the spans count in the content as it came."""
    vault: Vault
    """What the placeholders stand for; empty unless the style is reversible."""


def redact(
    content: Content,
    marks: Iterable[Mark | Finding],
    style: Style = "mask",
    *,
    text: str = "[REDACTED]",
    vault: Vault | None = None,
) -> Redacted:
    """Take out what is marked; spans that overlap are taken out as one.

    In a tool call only strings, numbers and the like are replaced, so its JSON stays valid.

    Args:
        content: What to redact; its history is left alone.
        marks: Places, or findings; findings without a span are passed over.
        style: "mask" writes the category, "replace" writes `text`, "drop" nothing, "reversible" a
            numbered placeholder that the vault turns back.
        text: What "replace" writes.
        vault: The request's vault, so that the same value has one placeholder in all its parts
            and messages; a new one by default.

    Raises:
        ContentError: A span lies outside its part, or in a part that holds no text.
    """
    writer = _Writer(style, text, Vault() if vault is None else vault)
    if style == "reversible":
        writer.vault.reserve(_texts(content))
    by_part: dict[int, list[Mark]] = {}
    for mark in _marks(marks):
        _expect_inside(content, mark.span)
        by_part.setdefault(mark.span.part, []).append(mark)
    parts, masks = list(content.parts), []
    for number in sorted(by_part):
        parts[number], made = _redact(parts[number], merge(by_part[number]), writer)
        masks += made
    return Redacted(changed(content, parts=tuple(parts)), tuple(masks), writer.vault)


def merge(marks: Sequence[Mark]) -> list[Mark]:
    """Join overlapping spans of one part; the longest of those joined names the category."""
    merged: list[Mark] = []
    longest = 0
    for span, category in sorted(marks):
        if span.start == span.end:
            continue
        size = span.end - span.start
        if merged and span.start < merged[-1].span.end:
            known = merged[-1]
            whole = Span(span.part, known.span.start, max(known.span.end, span.end))
            merged[-1] = Mark(whole, category if size > longest else known.category)
            longest = max(longest, size)
        else:
            merged.append(Mark(span, category))
            longest = size
    return merged


def _marks(marks: Iterable[Mark | Finding]) -> Iterable[Mark]:
    for mark in marks:
        if isinstance(mark, Mark):
            yield mark
        elif mark.span is not None:
            yield Mark(mark.span, mark.category)


def _expect_inside(content: Content, span: Span) -> None:
    if not 0 <= span.part < len(content.parts):
        raise ContentError(f"no part {span.part} to redact: the content has {len(content.parts)}")
    size = len(words(content.parts[span.part]))
    if not 0 <= span.start <= span.end <= size:
        raise ContentError(
            f"cannot redact {span.start} to {span.end} of part {span.part}: "
            f"expected a span within its {size} characters"
        )


def _texts(content: Content) -> Iterator[str]:
    yield from map(words, content.parts)
    for message in content.history:
        yield from _texts(message)


class _Writer(NamedTuple):
    style: Style
    text: str
    vault: Vault

    def write(self, value: str, category: str, *, bare: bool = False) -> str:
        """Return what stands in the place of a value."""
        match self.style:
            case "drop":
                return ""
            case "mask":
                return f"[{label(category)}]"
            case "replace":
                return self.text
            case "reversible":
                return self.vault.placeholder(value, label(category), bare=bare)
            case _:
                assert_never(self.style)


def _redact(part: Part, marks: Sequence[Mark], writer: _Writer) -> tuple[Part, list[Mask]]:
    source = words(part)
    quoted = isinstance(part, ToolCall) and is_json(source)
    pieces: list[str] = []
    masks: list[Mask] = []
    done = 0
    for span, category in marks:
        start = max(span.start, done)
        touched = places(source, start, span.end) if quoted else [_plain(source, span)]
        for place in touched:
            stand_in = writer.write(place.value, category, bare=place.bare)
            masks.append(Mask(Span(span.part, place.start, place.end), category, stand_in))
            if quoted:
                stand_in = json.dumps(stand_in)[0 if place.bare else 1 : None if place.bare else -1]
            pieces += (source[done : place.start], stand_in)
            done = place.end
    text = "".join((*pieces, source[done:]))
    return (changed(part, arguments=text) if isinstance(part, ToolCall) else Text(text)), masks


def _plain(source: str, span: Span) -> Place:
    return Place(span.start, span.end, source[span.start : span.end], bare=False)


def label(category: str) -> str:
    """Return a category as placeholders write it: `national-id` is `NATIONAL_ID`."""
    return re.sub(r"[^A-Z0-9]+", "_", category.upper()).strip("_") or "REDACTED"

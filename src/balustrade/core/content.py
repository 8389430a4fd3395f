"""What is judged: one message of typed parts, and the conversation it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct


class Role(StrEnum):
    """Who speaks. `DOCUMENT` is text that was retrieved, not said by a person or a model."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    DOCUMENT = "document"


class Stage(StrEnum):
    """Where in a model call content is judged."""

    INPUT = "input"
    RETRIEVAL = "retrieval"
    TOOL = "tool"
    OUTPUT = "output"


class Text(Struct, frozen=True, tag="text"):
    """Plain text, in Unicode code points; spans count these."""

    text: str


class Image(Struct, frozen=True, tag="image"):
    """An image, by address or by its bytes; never fetched by the core."""

    url: str = ""
    data: bytes = b""
    media_type: str = ""


class Video(Struct, frozen=True, tag="video"):
    """A video, by address or by its bytes."""

    url: str = ""
    data: bytes = b""
    media_type: str = ""


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """A call a model wants made; `arguments` is the JSON text as the model wrote it."""

    name: str
    arguments: str = "{}"
    id: str = ""


class Table(Struct, frozen=True, tag="table"):
    """Rows of a table; every row has as many cells as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool | None, ...], ...] = ()


Part: TypeAlias = Text | Image | Video | ToolCall | Table


class Content(Struct, frozen=True):
    """One message, and the conversation it stands in (`history`, oldest first)."""

    parts: tuple[Part, ...]
    role: Role = Role.USER
    history: tuple[Content, ...] = ()

    @classmethod
    def of(cls, text: str, role: Role = Role.USER, history: tuple[Content, ...] = ()) -> Content:
        """Return a message of one text part."""
        return cls((Text(text),), role, history)

    @property
    def text(self) -> str:
        """The words a guard for text judges: text parts and tool arguments, joined by newlines."""
        if len(self.parts) == 1:
            return words(self.parts[0])
        return "\n".join(filter(None, map(words, self.parts)))

    @property
    def request(self) -> str:
        """The last thing the user asked before this message; empty if nothing was asked."""
        message = last_asked(self.history)
        return message.text if message else ""


def last_asked(messages: Sequence[Content]) -> Content | None:
    """Return the last message of a user; None if nothing was asked."""
    return next((each for each in reversed(messages) if each.role is Role.USER), None)


def words(part: Part) -> str:
    """Return the text of a part that a guard for text can judge, empty if it has none."""
    if isinstance(part, Text):
        return part.text
    if isinstance(part, ToolCall):
        return part.arguments
    return ""


def kind(part: Part) -> str:
    """Return the tag of a part: text, image, video, tool_call or table."""
    return _KIND[type(part)]


_KIND = {Text: "text", Image: "image", Video: "video", ToolCall: "tool_call", Table: "table"}

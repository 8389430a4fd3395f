"""Chat messages to the contents that rails judge, and back to their places in a body."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from balustrade.core.content import Content, Image, Part, Role, Text, ToolCall, Video, words
from balustrade.gateway.http import HttpError
from balustrade.gateway.shapes import (
    WORDS,
    AnswerMessage,
    ChatMessage,
    ChatRequest,
    ContentPart,
    Document,
    FunctionCall,
    MessageCall,
)
from balustrade.gateway.wire import Tree, put, unreadable
from balustrade.rails.pipeline import Change

Path: TypeAlias = tuple[str | int, ...]

_ROLE = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}


class Placed(NamedTuple):
    """A part, and where its text stands, counted from its message."""

    part: Part
    path: Path


def conversation(body: ChatRequest, hosts: Sequence[str]) -> list[Content]:
    """Return the messages of a request, retrieved documents last.

    Args:
        body: The request.
        hosts: Hosts from which images may be fetched.

    Raises:
        HttpError: 400; a part is not what its type says, or an image's host is not allowed.
    """
    messages = [_content(m, number, hosts) for number, m in enumerate(body.messages)]
    for document in body.documents or ():
        parts = tuple(placed.part for placed in _document(document))
        messages.append(Content(parts, Role.DOCUMENT))
    return messages


def place(body: ChatRequest, message: int, number: int) -> Path:
    """Return where part `number` of a message stands in the body."""
    if message < len(body.messages):
        inside = [placed.path for placed in _parts(body.messages[message], message, None)]
        return ("messages", message, *inside[number])
    document = message - len(body.messages)
    inside = [placed.path for placed in _document((body.documents or [])[document])]
    return ("documents", document, *inside[number])


def rewrite(body: ChatRequest, tree: Tree, changes: Sequence[Change]) -> None:
    """Write what may go on into the body that upstream is sent."""
    for change in changes:
        put(tree, place(body, change.message, change.number), words(change.part))


def applied(messages: Sequence[Content], changes: Sequence[Change]) -> list[Content]:
    """Return the conversation as the model will see it."""
    seen = list(messages)
    for change in changes:
        parts = list(seen[change.message].parts)
        parts[change.number] = change.part
        seen[change.message] = Content(tuple(parts), seen[change.message].role)
    return seen


def answer(message: AnswerMessage) -> list[Placed]:
    """Return the parts of a model's answer: its words first, then its calls."""
    placed: list[Placed] = []
    for name in WORDS:
        text = getattr(message, name)
        if text:
            placed.append(Placed(Text(text), (name,)))
    if message.audio is not None:
        transcript = message.audio.get("transcript")
        placed.append(Placed(Text(str(transcript or "")), ("audio", "transcript")))
        placed.append(Placed(Video(media_type="audio"), ("audio", "data")))
    return [*placed, *_calls(message.tool_calls, message.function_call)]


def _content(message: ChatMessage, number: int, hosts: Sequence[str]) -> Content:
    role = _ROLE[message.role]
    text = message.content
    if isinstance(text, str) and _is_plain(message):
        return Content((Text(text),), role)
    return Content(tuple(placed.part for placed in _parts(message, number, hosts)), role)


def _is_plain(message: ChatMessage) -> bool:
    return not (
        message.tool_calls or message.function_call or message.refusal or message.reasoning_content
    )


def _parts(message: ChatMessage, number: int, hosts: Sequence[str] | None) -> Iterator[Placed]:
    """Yield the parts of a message; with `hosts`, expect each to be what it says."""
    content = message.content
    if isinstance(content, str):
        yield Placed(Text(content), ("content",))
    elif content is not None:
        for slot, part in enumerate(content):
            name, made = _part(part, f"messages[{number}].content[{slot}]", hosts)
            yield Placed(made, ("content", slot, name))
    if message.reasoning_content:
        yield Placed(Text(message.reasoning_content), ("reasoning_content",))
    if message.refusal:
        yield Placed(Text(message.refusal), ("refusal",))
    yield from _calls(message.tool_calls, message.function_call)


def _calls(calls: Sequence[MessageCall] | None, legacy: FunctionCall | None) -> Iterator[Placed]:
    for slot, call in enumerate(calls or ()):
        if call.custom is not None:
            made = ToolCall(call.custom.name, call.custom.input, call.id)
            yield Placed(made, ("tool_calls", slot, "custom", "input"))
        function = call.function
        if function is not None:
            made = ToolCall(function.name, function.arguments, call.id)
            yield Placed(made, ("tool_calls", slot, "function", "arguments"))
    if legacy is not None:
        yield Placed(ToolCall(legacy.name, legacy.arguments), ("function_call", "arguments"))


def _part(part: ContentPart, where: str, hosts: Sequence[str] | None) -> tuple[str, Part]:
    """Return a part, and the field that holds its text."""
    if part.type == "refusal":
        return "refusal", Text(part.refusal or "")
    if part.type in {"text", "document"}:
        if part.text is None:
            raise unreadable("expected the part's text", f"{where}.text")
        return "text", Text(part.text)
    return part.type, _medium(part, where, hosts)


def _medium(part: ContentPart, where: str, hosts: Sequence[str] | None) -> Part:
    """Return what is no text; core knows recordings as videos and pages as images."""
    if part.type == "input_audio":
        return Video(media_type=f"audio/{part.input_audio.format if part.input_audio else ''}")
    if part.type == "file":
        return Image(media_type="application/octet-stream")
    if part.image_url is None:
        raise unreadable("expected the image's address", f"{where}.image_url")
    if hosts is None:
        return Image(part.image_url.url)
    return image(part.image_url.url, f"{where}.image_url.url", hosts)


def image(url: str, where: str, hosts: Sequence[str]) -> Image:
    """Return an image by its address or its bytes; nothing is fetched.

    Args:
        url: The address: `data:`, or http(s) at a host that is allowed.
        where: The field, for errors.
        hosts: Hosts that whoever is sent the address may fetch it from; `*.name` allows all
            below a name.

    Raises:
        HttpError: 400; the address is no such thing, or its host is not allowed.
    """
    if url[:5].lower() == "data:":
        return _inline(url, where)
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise unreadable(f"not an address: {error}", where) from error
    odd = "\\" in url or any(char <= " " or char == "\x7f" for char in url)
    if parts.scheme not in {"http", "https"} or odd or "@" in parts.netloc or not host:
        raise unreadable("expected an http, https or data URL", where)
    if not any(_matches(host, allowed.lower()) for allowed in hosts):
        raise HttpError(
            400,
            f"images may not be fetched from {host!r}; the policy's image_hosts does not name it",
            code="image_host_not_allowed",
            param=where,
        )
    return Image(url)


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _inline(url: str, where: str) -> Image:
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise unreadable("expected data:TYPE;base64,DATA", where)
    media_type, *flags = head.split(";")
    if "base64" not in flags:
        return Image(data=data.encode(), media_type=media_type)
    try:
        return Image(data=b64decode(data, validate=True), media_type=media_type)
    except binascii.Error as error:
        raise unreadable(f"not base64: {error}", where) from error


def _document(document: str | Document) -> Iterator[Placed]:
    if isinstance(document, str):
        yield Placed(Text(document), ())
        return
    for name in ("title", "text", "content"):
        text = getattr(document, name)
        if text:
            yield Placed(Text(text), (name,))

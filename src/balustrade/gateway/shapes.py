"""OpenAI's chat shapes, as far as we read them; all else passes through as it came."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Model = Annotated[str, Meta(min_length=1, max_length=500)]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class ImageAddress(Struct):
    """Where an image is: an address, or its bytes as a `data:` URL."""

    url: str


class Sound(Struct):
    """A recording, in base64."""

    data: str = ""
    format: str = ""


class File(Struct):
    """A file, by its upload's ID or in base64."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ContentPart(Struct):
    """One part of a message."""

    type: Literal["text", "refusal", "image_url", "input_audio", "file", "document"]
    text: str | None = None
    refusal: str | None = None
    image_url: ImageAddress | None = None
    input_audio: Sound | None = None
    file: File | None = None


class FunctionCall(Struct):
    """What a model calls; `arguments` is JSON as the model wrote it."""

    name: str = ""
    arguments: str = "{}"


class CustomCall(Struct):
    """A call of a tool that takes plain text."""

    name: str = ""
    input: str = ""


class MessageCall(Struct):
    """A tool call in a message."""

    id: str = ""
    type: str = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ChatMessage(Struct):
    """One message of a conversation."""

    role: Role
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[MessageCall] | None = None
    function_call: FunctionCall | None = None


class Document(Struct, forbid_unknown_fields=True):
    """A passage that was retrieved for this request."""

    text: str | None = None
    title: str | None = None
    content: str | None = None


class ChatRequest(Struct):
    """POST /v1/chat/completions; fields not named here go upstream untouched."""

    model: Model
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    documents: list[str | Document] | None = None
    """Retrieved passages, judged by the retrieval rail (vLLM's field)."""


class AnswerMessage(Struct):
    """What a model answered."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[MessageCall] | None = None
    function_call: FunctionCall | None = None
    audio: dict[str, Any] | None = None


class Choice(Struct):
    """One of the alternatives."""

    message: AnswerMessage
    index: int = 0
    finish_reason: str | None = None


class ChatCompletion(Struct):
    """An upstream's answer to a chat request."""

    choices: list[Choice]
    id: str = ""
    created: int = 0
    model: str = ""


class DeltaCall(Struct):
    """A piece of a tool call."""

    index: int = 0
    id: str | None = None
    type: str | None = None
    function: FunctionPiece | None = None
    custom: CustomPiece | None = None


class FunctionPiece(Struct):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class CustomPiece(Struct):
    """A piece of a custom tool's call."""

    name: str | None = None
    input: str | None = None


WORDS = ("content", "reasoning_content", "reasoning", "refusal")
"""The fields of an answer, and of what a chunk adds to it, that hold text."""


class Delta(Struct):
    """What a chunk adds to an answer."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[DeltaCall] | None = None
    function_call: FunctionPiece | None = None
    audio: dict[str, Any] | None = None


class ChunkChoice(Struct):
    """One alternative's share of a chunk."""

    delta: Delta
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class ChatChunk(Struct):
    """One event of a streamed answer."""

    choices: list[ChunkChoice] = []
    usage: dict[str, Any] | None = None

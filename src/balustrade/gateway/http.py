"""What a handler is given and what it gives back; the error every client can read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from balustrade.core.errors import BalustradeError

if TYPE_CHECKING:
    from balustrade.gateway.auth import Key
    from balustrade.gateway.state import State

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"


class Request:
    """One request, its body read whole and bounded.

    Nothing is parsed before it is asked for. `upstream_seconds` is what the handler spent waiting
    for a model; the rest of the time since `started` is our own overhead.
    """

    __slots__ = (
        "body",
        "id",
        "key",
        "method",
        "pairs",
        "params",
        "path",
        "query_string",
        "route",
        "started",
        "upstream_seconds",
    )

    def __init__(
        self,
        method: str,
        path: str,
        pairs: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        query_string: bytes = b"",
    ) -> None:
        self.method = method
        self.path = path
        self.pairs = pairs
        self.body = body
        self.query_string = query_string
        self.started = time.perf_counter()
        self.upstream_seconds = 0.0
        self.id = ""
        self.route = path
        """The path's pattern, such as '/v1/decisions/{id}'; what metrics and records name."""
        self.params: dict[str, str] = {}
        """What stood in the place of each '{name}' of the pattern."""
        self.key: Key | None = None
        """Whose request it is; None where no keys are configured."""

    def header(self, name: bytes, default: str = "") -> str:
        """Return the first header of that lower-case name."""
        for known, value in self.pairs:
            if known == name:
                return value.decode("latin-1")
        return default

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of a repeated one, the last."""
        fields = parse_qs(self.query_string.decode("latin-1"), max_num_fields=100)
        return {name: values[-1] for name, values in fields.items()}

    def overhead(self) -> float:
        """Return the seconds since the request came in, without those spent at an upstream."""
        return time.perf_counter() - self.started - self.upstream_seconds


class Answer(Struct):
    """A response whose body is complete."""

    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    media_type: bytes = JSON

    @classmethod
    def of(cls, value: object, status: int = 200, headers: Headers = ()) -> Answer:
        """Return a value as JSON."""
        return cls(status, _encode(value), headers)


class Streamed(Struct):
    """A response whose body grows; closed early if the client goes away.

    `chunks` is closed with `aclose()` in every case, so a generator's `finally` cancels upstream.
    """

    chunks: AsyncIterator[bytes]
    status: int = 200
    headers: Headers = ()
    media_type: bytes = EVENTS


Handler: TypeAlias = Callable[["State", Request], Awaitable[Answer | Streamed]]


class HttpError(BalustradeError):
    """A request ends with an error; `param` names the field that is wrong."""

    code = "http"

    def __init__(  # noqa: PLR0913 - the wire's four fields, and how they travel
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",  # noqa: A002 - the wire's own word
        code: str | None = None,
        param: str | None = None,
        *,
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.reason = code
        self.param = param
        self.headers = headers

    def body(self) -> bytes:
        """Return the error in OpenAI's form."""
        return error_body(self.message, self.type, self.reason, self.param)

    def answer(self) -> Answer:
        """Return the error as a response."""
        return Answer(self.status, self.body(), self.headers)


def error_body(
    message: str, type_: str, code: str | None = None, param: str | None = None
) -> bytes:
    """Return OpenAI's error object."""
    fields = {"message": message, "type": type_, "param": param, "code": code}
    return _encode({"error": fields})


_encode = msgspec.json.Encoder().encode

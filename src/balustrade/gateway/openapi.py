"""The OpenAPI document, built from the structs that decode requests, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from balustrade import __version__
from balustrade.gateway.check import CheckRequest, CheckResponse
from balustrade.gateway.completions import CompletionRequest
from balustrade.gateway.embeddings import EmbeddingRequest
from balustrade.gateway.http import Answer, Request
from balustrade.gateway.moderations import ModerationRequest
from balustrade.gateway.responses import ResponseRequest
from balustrade.gateway.shapes import ChatRequest
from balustrade.gateway.wire import Tree, encode
from balustrade.verify.record import Record

if TYPE_CHECKING:
    from balustrade.gateway.state import State

REF = "#/components/schemas/{name}"
HTML = b"text/html; charset=utf-8"


class ErrorDetail(Struct):
    """What is wrong, in OpenAI's form."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Struct):
    """The body of every answer that is no success."""

    error: ErrorDetail


class Told(Struct):
    """The decision that counts, as every judged answer carries it."""

    decision: str
    action: str
    rule: str
    stage: str


class Judged(Struct):
    """An answer in OpenAI's form, with our field beside theirs."""

    balustrade: Told | None = None


class ModerationAnswer(Struct):
    """OpenAI's moderation answer; one result for each input."""

    id: str
    model: str
    results: list[dict[str, Any]]
    balustrade: Told


class Operation(Struct, frozen=True):
    """One endpoint."""

    method: str
    path: str
    summary: str
    takes: type[Struct] | None = None
    gives: type[Struct] | None = None
    streams: bool = False
    media_type: str = "application/json"


OPERATIONS = (
    Operation("post", "/v1/chat/completions", "Answer a chat", ChatRequest, Judged, streams=True),
    Operation("post", "/v1/responses", "Make a response", ResponseRequest, Judged, streams=True),
    Operation(
        "post", "/v1/completions", "Continue a prompt", CompletionRequest, Judged, streams=True
    ),
    Operation("post", "/v1/embeddings", "Turn texts into vectors", EmbeddingRequest, Judged),
    Operation(
        "post", "/v1/moderations", "Judge inputs, in OpenAI's form", ModerationRequest,
        ModerationAnswer,
    ),
    Operation(
        "post", "/v1/guard/check", "Judge content of any stage; no model answers", CheckRequest,
        CheckResponse,
    ),
    Operation("get", "/v1/decisions/{id}", "Find the record of a decision", None, Record),
    Operation("get", "/v1/models", "List models"),
    Operation("get", "/healthz", "Say that the process lives"),
    Operation("get", "/readyz", "Say whether requests can be served"),
    Operation("get", "/metrics", "Count, for Prometheus", media_type="text/plain"),
)  # fmt: skip
_OPEN = {"/healthz", "/readyz", "/metrics"}


async def document(state: State, request: Request) -> Answer:  # noqa: ARG001
    """Return the OpenAPI document."""
    return Answer(body=encode(describe()))


async def docs(state: State, request: Request) -> Answer:  # noqa: ARG001
    """Return the document as a page that needs no script and no other host."""
    return Answer(body=page(), headers=_POLICY, media_type=HTML)


_POLICY = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"referrer-policy", b"no-referrer"),
)


@cache
def describe() -> Tree:
    """Return the OpenAPI 3.1 document of this server."""
    kinds = [k for op in OPERATIONS for k in (op.takes, op.gives) if k is not None] + [ErrorBody]
    _, components = msgspec.json.schema_components(kinds, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    scheme = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Balustrade",
            "version": __version__,
            "description": "OpenAI's endpoints with rails around the model behind them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": scheme}},
    }


def _described(operation: Operation) -> Tree:
    errors = ("400", "404") if operation.method == "post" else ("404",)
    described: Tree = {
        "operationId": operation.method + operation.path.replace("/", "_").strip("{}"),
        "summary": operation.summary,
        "responses": {
            "200": _response(operation),
            **{status: _error(status) for status in errors},
            "default": _error("any other"),
        },
    }
    if operation.path not in _OPEN:
        described["security"] = [{"key": []}, {}]
    if operation.takes is not None:
        content = {"application/json": {"schema": _ref(operation.takes)}}
        described["requestBody"] = {"required": True, "content": content}
    if "{id}" in operation.path:
        where = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        described["parameters"] = [where]
    return described


def _response(operation: Operation) -> Tree:
    schema = _ref(operation.gives) if operation.gives is not None else {}
    content: dict[str, Tree] = {operation.media_type: {"schema": schema}}
    if operation.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": "done; a refusal by policy is told in the body", "content": content}


def _error(status: str) -> Tree:
    content = {"application/json": {"schema": _ref(ErrorBody)}}
    return {"description": f"an error ({status})", "content": content}


def _ref(kind: type[Struct]) -> Tree:
    return {"$ref": REF.format(name=kind.__name__)}


@cache
def page() -> bytes:
    """Return the page of the document."""
    whole = describe()
    rows = [_section(op, whole["components"]["schemas"]) for op in OPERATIONS]
    index = "".join(
        f'<li><a href="#{_anchor(op)}"><code>{op.method.upper()} {escape(op.path)}</code></a> '
        f"{escape(op.summary)}</li>"
        for op in OPERATIONS
    )
    schemas = "".join(_schema(name, s) for name, s in whole["components"]["schemas"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Balustrade: API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Balustrade {escape(__version__)}: API</h1>"
        '<p>The same as a document: <a href="/openapi.json">openapi.json</a>. Unknown fields of '
        "OpenAI's requests are passed on. Every judged answer names its decision in the header "
        "<code>x-balustrade-decision</code> and in the field <code>balustrade</code>.</p>"
        f"<nav><ul>{index}</ul></nav>{''.join(rows)}<h2>Schemas</h2>{schemas}</main></body></html>"
    ).encode()


def _section(operation: Operation, schemas: Mapping[str, Tree]) -> str:
    takes = gives = ""
    if operation.takes is not None:
        name = operation.takes.__name__
        takes = f"<h3>Body</h3>{_table(schemas[name])}"
    if operation.gives is not None:
        name = operation.gives.__name__
        gives = f'<p>Answers <a href="#schema-{name}">{name}</a>.</p>'
    return (
        f'<section id="{_anchor(operation)}"><h2><code>{operation.method.upper()} '
        f"{escape(operation.path)}</code></h2><p>{escape(operation.summary)}.</p>{takes}{gives}"
        "</section>"
    )


def _schema(name: str, schema: Tree) -> str:
    text = escape(str(schema.get("description", "")))
    return f'<section id="schema-{name}"><h3>{name}</h3><p>{text}</p>{_table(schema)}</section>'


def _table(schema: Tree) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{_kind(field)}</td>"
        f"<td>{'required' if name in required else ''}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    head = "<tr><th scope='col'>Field</th><th scope='col'>Kind</th><th scope='col'></th></tr>"
    return f"<div class='scroll'><table>{head}{rows}</table></div>" if rows else ""


def _kind(field: Tree) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    if "enum" in field:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return escape(str(field.get("type", "anything")))


def _anchor(operation: Operation) -> str:
    return escape(operation.method + operation.path.replace("/", "-").replace("{id}", "id"))


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1a1a1a;background:#fff}"
    "main{max-width:60rem;margin:0 auto;padding:1rem}code{font-size:.95em}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #ddd;vertical-align:top}.scroll{overflow-x:auto}"
    "section{margin:2rem 0}a{color:#0b5394}"
    "@media (prefers-color-scheme:dark){body{color:#eee;background:#16181c}a{color:#8ab8ff}"
    "th,td{border-color:#3a3d44}}"
)

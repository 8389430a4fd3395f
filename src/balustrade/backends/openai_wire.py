"""OpenAI's shapes: calls to request bodies, answers to replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from balustrade.core.call import Chat, Classify, Embed, Generate, Spoken, Token, Vectors
from balustrade.core.errors import BackendError

ALTERNATIVES = 20
"""The most alternatives of a token that servers report."""


class Rung(NamedTuple):
    """Which options a request uses; servers differ in what they take."""

    constraint: str
    logprobs: bool
    modern: bool = False
    """Whether the length limit has its newer name and no temperature is set."""


COUNTS = (ALTERNATIVES, 5, 0)
"""How many alternatives a completion is asked for; the older API gives five, some servers none."""

BEGINNINGS = ("<|begin_of_text|>", "<bos>", "<s>")
"""Tokens that begin a text; a server puts its model's own before a prompt."""

RUNGS = (
    Rung("choice", logprobs=True),
    Rung("schema", logprobs=True),
    Rung("", logprobs=True),
    Rung("", logprobs=False),
    Rung("", logprobs=False, modern=True),
)


class Said(Struct, frozen=True):
    """What a model said, and the alternatives of the token that says it."""

    text: str
    logprobs: dict[str, float] = {}


def chat(call: Generate, number: int, model: str, rung: Rung) -> dict[str, Any]:
    """Return the body that asks for the continuation of prompt `number`."""
    messages = [{"role": "system", "content": call.system}] if call.system else []
    messages.append({"role": "user", "content": call.prompts[number]})
    body = _question(call, messages, model, rung)
    if call.choices and rung.constraint == "choice":
        body |= {
            "guided_choice": list(call.choices),
            "structured_outputs": {"choice": list(call.choices)},
        }
    if call.choices and rung.constraint == "schema":
        body["response_format"] = form(_schema(call.choices))
        if "max_tokens" in body:
            body["max_tokens"] += len('{"answer": ""}')
    return body


CONVERSES = (
    Rung("schema", logprobs=True),
    Rung("object", logprobs=True),
    Rung("", logprobs=True),
    Rung("", logprobs=False),
    Rung("", logprobs=False, modern=True),
)
"""The same for a conversation whose answer is an object of a given form."""


def converse(call: Chat, model: str, rung: Rung) -> dict[str, Any]:
    """Return the body that asks for the next turn of a conversation."""
    messages = [{"role": role, "content": text} for role, text in call.messages]
    body = _question(call, messages, model, rung)
    if call.schema and rung.constraint == "schema":
        body["response_format"] = form(msgspec.json.decode(call.schema))
    if call.schema and rung.constraint == "object":
        body["response_format"] = OBJECT
    return body


OBJECT = {"type": "json_object"}
"""The form of an answer that is an object, whichever."""


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the form of an answer that keeps a JSON schema."""
    kept = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": kept}


def _question(
    call: Generate | Chat, messages: list[dict[str, str]], model: str, rung: Rung
) -> dict[str, Any]:
    """Return a chat's body without a constraint on its answer."""
    body: dict[str, Any] = {"model": model, "messages": messages}
    if rung.modern:
        body["max_completion_tokens"] = call.max_tokens
    else:
        body |= {"max_tokens": call.max_tokens, "temperature": 0}
    if call.logprobs and rung.logprobs:
        body |= {"logprobs": True, "top_logprobs": min(call.logprobs, ALTERNATIVES)}
    return body


Body = dict[str, Any]


def tries(
    make: Callable[[Rung], Body], rungs: Sequence[Rung], start: int
) -> Iterator[tuple[int, Body]]:
    """Yield bodies to ask with, one after the other is refused, each with its rung's number.

    A rung that asks the same as the one before is passed over: it would be refused as well.
    """
    last = None
    for number in range(start, len(rungs)):
        body = make(rungs[number])
        if body != last:
            yield number, body
        last = body


def spoken(call: Chat, body: bytes) -> Spoken:
    """Read the answer to a conversation, with its tokens where they were asked for."""
    answer = _completion(call, body)
    choice, spent = answer.choices[0], used(answer.usage)
    tokens = (call.logprobs and choice.logprobs and choice.logprobs.content) or []
    return Spoken(
        choice.message.content or "",
        tuple(Token(token.token, _alternatives(token)) for token in tokens),
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
    )


class Used(NamedTuple):
    """How many tokens a server counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


ITEM_TOKENS = ("input_tokens", "output_tokens")
"""What /v1/responses calls the tokens of a prompt and of its completion."""


def used(usage: object) -> Used:
    """Return what an answer's `usage` says; 0 for what it does not say as OpenAI does.

    Chats name tokens otherwise than responses do. An answer is not worse for a count that cannot be
    read.
    """
    counts = usage if isinstance(usage, dict) else {}
    names = ITEM_TOKENS if ITEM_TOKENS[0] in counts else Used._fields
    return Used(*(_count(counts.get(name)) for name in names))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def completion(call: Generate, number: int, model: str, count: int) -> dict[str, Any]:
    """Return the body that asks for the continuation of raw prompt `number`, as it stands."""
    prompt = call.prompts[number]
    begun = next((mark for mark in BEGINNINGS if prompt.startswith(mark)), "")
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt.removeprefix(begun),
        "max_tokens": call.max_tokens,
        "temperature": 0,
    }
    if call.logprobs and count:
        body["logprobs"] = min(call.logprobs, count)
    return body


def _schema(choices: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }


class _Alternative(Struct):
    token: str
    logprob: float


class _Token(Struct):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] = []


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Message
    logprobs: _Logprobs | None = None


class _Completion(Struct):
    choices: list[_Choice]
    usage: Any = None


class _Listed(Struct):
    """Log-probabilities as the older API lists them, or as chats do: servers differ."""

    top_logprobs: list[dict[str, float] | None] | None = None
    content: list[_Token] | None = None


class _Continued(Struct):
    text: str
    logprobs: _Listed | None = None


class _Continuation(Struct):
    choices: list[_Continued]


def continued(call: Generate, body: bytes) -> Said:
    """Read a completion of a raw prompt."""
    answer = msgspec.json.decode(body, type=_Continuation)
    if not answer.choices:
        raise BackendError(f"model {call.model!r} gave no choices")
    choice = answer.choices[0]
    listed = choice.logprobs
    if not call.logprobs or listed is None:
        return Said(choice.text)
    if listed.content:
        return Said(choice.text, _alternatives(listed.content[0]))
    return Said(choice.text, (listed.top_logprobs or [None])[0] or {})


class _Wrapped(Struct):
    answer: str


def said(call: Generate, body: bytes) -> Said:
    """Read a chat completion."""
    choice = _completion(call, body).choices[0]
    text = choice.message.content or ""
    if call.choices and text.lstrip().startswith("{"):
        text = _unwrapped(text)
    tokens = (choice.logprobs and choice.logprobs.content) or []
    if not call.logprobs or not tokens:
        return Said(text)
    return Said(text, _alternatives(_telling(tokens, call.choices)))


def _completion(call: Generate | Chat, body: bytes) -> _Completion:
    """Return a chat completion, which has a choice at least."""
    answer = msgspec.json.decode(body, type=_Completion)
    if not answer.choices:
        raise BackendError(f"model {call.model!r} gave no choices")
    return answer


def _unwrapped(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=_Wrapped).answer
    except msgspec.DecodeError:
        return text


def _telling(tokens: list[_Token], choices: tuple[str, ...]) -> _Token:
    """Return the token that is the answer: past the wrapping, where there is one."""
    return next((t for t in tokens if t.token.strip(' "\n') in choices), tokens[0])


def _alternatives(token: _Token) -> dict[str, float]:
    known = {token.token: token.logprob}
    return known | {other.token: other.logprob for other in token.top_logprobs}


def moderation(call: Classify, model: str) -> dict[str, Any]:
    """Return the body that asks for moderation scores; contexts have no place in it."""
    return {"model": model, "input": list(call.texts)}


class _Result(Struct):
    category_scores: dict[str, float]


class _Moderation(Struct):
    results: list[_Result]


def scores(call: Classify, body: bytes) -> Vectors:
    """Read moderation scores: one row a text, one column a category."""
    results = msgspec.json.decode(body, type=_Moderation).results
    _expect(call.model, len(results), len(call.texts))
    labels = tuple(sorted({label for result in results for label in result.category_scores}))
    rows = [[r.category_scores.get(label, 0.0) for label in labels] for r in results]
    return Vectors.of(rows, labels)


def embedding(call: Embed, model: str) -> dict[str, Any]:
    """Return the body that asks for vectors."""
    return {"model": model, "input": list(call.texts), "encoding_format": "float"}


class _Row(Struct):
    index: int
    embedding: list[float]


class _Embeddings(Struct):
    data: list[_Row]


def vectors(call: Embed, body: bytes) -> Vectors:
    """Read vectors: one row a text."""
    rows = sorted(msgspec.json.decode(body, type=_Embeddings).data, key=lambda row: row.index)
    _expect(call.model, len(rows), len(call.texts))
    if len({len(row.embedding) for row in rows}) > 1:
        raise BackendError(f"model {call.model!r} gave vectors of different lengths")
    return Vectors.of([row.embedding for row in rows])


def _expect(model: str, found: int, expected: int) -> None:
    if found != expected:
        raise BackendError(f"model {model!r} gave {found} answers for {expected} texts")


class _Error(Struct):
    message: str = ""


class _Failure(Struct):
    error: _Error | str = ""


def reason(body: bytes) -> str:
    """Return what a server says is wrong, short, to stand after a status; empty if nothing."""
    try:
        error = msgspec.json.decode(body, type=_Failure).error
    except msgspec.DecodeError:
        return ""
    text = error if isinstance(error, str) else error.message
    return f": {text[:200]}" if text else ""

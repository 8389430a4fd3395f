"""A scripted model behind OpenAI's API: try the gateway with no key, and see it cope with faults.

    python examples/upstream.py --port 9000
    BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve

What it answers depends on the model's name alone, so the same request always has the same answer:

    echo            repeats the last message
    words-N         N words (64 if plain "words"), at once
    slow-N          N words, 10 ms apart
    leak-A-B        A words, a card number, B more words, 10 ms apart
    turn-N          N words, then turns on its reader and threatens them, 10 ms apart
    tool            calls the function that the request names first
    guard           names a route, as a guard of PrimeGuard does: `direct_violation` if the request
                    has the word "neighbour", `potential_violation` if "lock", else no risk
    rude            insults its reader until it is told that a draft was held back
    pupil           says how it was asked: freely, or with care (as an object, as it was told)
    hang            never answers
    hang-N          answers N words, then never again
    cut-N           breaks the connection after N words
    garbage         an event that is no JSON
    huge            ten megabytes in one event
    error-STATUS    that status, in OpenAI's form
    busy            429 with Retry-After, for the first request of two

Streamed or not, as the request says. `GET /seen` tells how often each model was asked, how many
words it wrote last, and whether its client went away before the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvicorn

VOCABULARY = [
    "the",
    "river",
    "runs",
    "past",
    "old",
    "mills",
    "and",
    "quiet",
    "gardens",
    "where",
    "people",
    "rest",
    "at",
    "noon",
    "and",
    "talk",
    "about",
    "weather",
    "bread",
    "music",
    "and",
    "the",
    "road",
    "to",
    "town",
]
CARD = "4111 1111 1111 1111"
THREAT = (
    "You are a worthless idiot, and I will come to your house tonight and beat you until you stop "
    "breathing, because stupid people like you deserve to suffer and die."
)
PAUSE = 0.010
BROKEN = {
    "garbage": b"data: {this is no JSON\n\n",
    "huge": b'data: {"' + b"x" * 10_000_000 + b"\n\n",
}

Message = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Gone(Exception):  # noqa: N818 - it is no error
    """The script breaks the connection."""


class Seen:
    """What was asked of each model, and how its last answer ended."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.words: dict[str, int] = {}
        self.cancelled: dict[str, int] = {}
        self.bodies: dict[str, Any] = {}

    def report(self) -> Message:
        """Return all of it."""
        return {
            model: {
                "asked": count,
                "words": self.words.get(model, 0),
                "cancelled": self.cancelled.get(model, 0),
                "body": self.bodies.get(model),
            }
            for model, count in self.asked.items()
        }


SEEN = Seen()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = await read(receive)
    path = scope["path"]
    if path == "/seen":
        await answer(send, SEEN.report())
    elif path.endswith("/models"):
        await answer(send, {"object": "list", "data": [model(name) for name in ("echo", "words")]})
    else:
        await complete(path, json.loads(body or b"{}"), receive, send)


async def complete(path: str, asked: Message, receive: Receive, send: Send) -> None:
    """Play the script that the model's name stands for."""
    name = str(asked.get("model", "echo"))
    SEEN.asked[name] = SEEN.asked.get(name, 0) + 1
    SEEN.bodies[name] = asked
    if path.endswith("/embeddings"):
        await answer(send, embeddings(asked))
        return
    kind, _, detail = name.partition("-")
    if kind == "error":
        await refuse(send, int(detail))
    elif kind == "busy" and SEEN.asked[name] % 2:
        await refuse(send, 429, [(b"retry-after", b"0.05")])
    elif name == "hang":
        await gone(receive, name)
    elif asked.get("stream"):
        await stream(path, asked, name, receive, send)
    else:
        words = [word async for word in script(name, asked, pace=False)]
        await answer(send, whole(path, asked, name, "".join(words)))


async def script(name: str, asked: Message, *, pace: bool = True) -> AsyncIterator[str]:
    """Yield the words of an answer, each with the space before it."""
    kind, *numbers = name.split("-")
    counts = [int(number) for number in numbers if number.isdigit()]
    words = VOCABULARY * 20
    if kind == "tool":
        return
    if kind == "echo":
        yield said(asked)
        return
    if kind in {"guard", "pupil"}:
        yield routing(kind, asked)
        return
    if kind == "rude":
        told = any("held back" in str(m.get("content")) for m in asked.get("messages", ()))
        yield "The moon pulls the sea." if told else "The moon does, you fool."
        return
    slow = pace and kind in {"slow", "leak", "turn"}
    if kind == "leak":
        before, after = counts
        chosen = [*words[:before], *CARD.split(), *words[before : before + after]]
    else:
        chosen = words[: counts[0] if counts else 64]
        chosen += THREAT.split() if kind == "turn" else []
    for number, word in enumerate(chosen):
        if slow:
            await asyncio.sleep(PAUSE)
        yield word if number == 0 else " " + word


def routing(kind: str, asked: Message) -> str:
    """Return what a guard, or the model behind it, says in two passes."""
    if kind == "guard":
        text = said(asked).lower()
        risk = "direct_violation" if "neighbour" in text else "potential_violation"
        route = risk if {"neighbour", "lock"} & {*text.replace("?", " ").split()} else ""
        tip = "Explain how it works; leave out how to open one that is not yours."
        check = "Locks are a matter of the guidelines." if route else "No guideline is touched."
        return json.dumps({"check": check, "route": route or "no_to_minimal_risk", "tip": tip})
    if "response_format" in asked or "format" in (asked.get("text") or {}):
        thought, answer = "The tip is right.", "With care: pins of unequal length hold the core."
        return json.dumps({"reevaluation": thought, "final_response": answer})
    return "Freely: with pleasure."


async def stream(path: str, asked: Message, name: str, receive: Receive, send: Send) -> None:
    """Send an answer word by word, until it is done or its reader has gone."""
    leaving = asyncio.ensure_future(gone(receive, ""))
    SEEN.words[name] = 0
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async for event in events(path, asked, name):
            if leaving.done():
                SEEN.cancelled[name] = SEEN.cancelled.get(name, 0) + 1
                return
            await send({"type": "http.response.body", "body": event, "more_body": True})
        if name.startswith("hang"):
            await leaving
            SEEN.cancelled[name] = SEEN.cancelled.get(name, 0) + 1
            return
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()


async def events(path: str, asked: Message, name: str) -> AsyncIterator[bytes]:
    """Yield the events of a streamed answer."""
    kind = name.partition("-")[0]
    if kind in BROKEN:
        yield BROKEN[kind]
        return
    if path.endswith("/responses"):
        async for event in response_events(asked, name):
            yield event
        return
    count = int(asked.get("n") or 1)
    async for word in script(name, asked):
        SEEN.words[name] += 1
        for index in range(count):
            yield chunk(path, asked, index, {"content": word})
    for event in last_events(path, asked, name, count):
        yield event


def last_events(path: str, asked: Message, name: str, count: int) -> Iterator[bytes]:
    """Yield the events that end a streamed answer of chat or completions."""
    if name.startswith("cut"):
        raise Gone
    if name.startswith("hang"):
        return
    for index in range(count):
        if name == "tool":
            yield chunk(path, asked, index, {"tool_calls": [{"index": 0, **call(asked)}]})
        yield chunk(path, asked, index, {}, "tool_calls" if name == "tool" else "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield event({**base(path, asked), "choices": [], "usage": usage(asked, SEEN.words[name])})
    yield b"data: [DONE]\n\n"


async def response_events(asked: Message, name: str) -> AsyncIterator[bytes]:
    """Yield the events of a streamed answer of the responses API."""
    made = whole("/responses", asked, name, "")
    item = made["output"][0]
    number = 0
    text = ""

    def named(kind: str, **fields: object) -> bytes:
        nonlocal number
        number += 1
        data = {"type": kind, "sequence_number": number - 1, **fields}
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()

    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    started = {**made, "status": "in_progress", "output": [], "usage": None}
    yield named("response.created", response=started)
    yield named("response.in_progress", response=started)
    opened = {**item, "status": "in_progress", "content": []}
    yield named("response.output_item.added", output_index=0, item=opened)
    part = {"type": "output_text", "text": "", "annotations": []}
    yield named("response.content_part.added", **place, part=part)
    async for word in script(name, asked):
        SEEN.words[name] += 1
        text += word
        yield named("response.output_text.delta", **place, delta=word, logprobs=[])
    if name.startswith("cut"):
        raise Gone
    if name.startswith("hang"):
        return
    yield named("response.output_text.done", **place, text=text, logprobs=[])
    yield named("response.content_part.done", **place, part={**part, "text": text})
    full = whole("/responses", asked, name, text)
    yield named("response.output_item.done", output_index=0, item=full["output"][0])
    yield named("response.completed", response=full)


def chunk(
    path: str, asked: Message, index: int, delta: Message, reason: str | None = None
) -> bytes:
    """Return one event of a streamed answer."""
    choice: Message = {"index": index, "finish_reason": reason, "logprobs": None}
    if path.endswith("/chat/completions"):
        choice["delta"] = delta
    else:
        choice["text"] = delta.get("content", "")
    return event({**base(path, asked), "choices": [choice]})


def whole(path: str, asked: Message, name: str, text: str) -> Message:
    """Return an answer that is not streamed."""
    count = int(asked.get("n") or 1)
    used = usage(asked, len(text.split()) * count)
    if path.endswith("/responses"):
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {
            "type": "message",
            "id": "msg_scripted",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }
        return {
            "id": "resp_scripted",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "model": asked.get("model"),
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": used["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": used["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": used["total_tokens"],
            },
        }
    is_chat = path.endswith("/chat/completions")
    choices = [choice(name, asked, index, text, is_chat=is_chat) for index in range(count)]
    kind = "chat.completion" if is_chat else "text_completion"
    return {**base(path, asked), "object": kind, "choices": choices, "usage": used}


def choice(name: str, asked: Message, index: int, text: str, *, is_chat: bool) -> Message:
    """Return one alternative of an answer."""
    if not is_chat:
        return {"index": index, "text": text, "finish_reason": "stop", "logprobs": None}
    message: Message = {"role": "assistant", "content": text}
    reason = "stop"
    if name == "tool":
        message = {"role": "assistant", "content": None, "tool_calls": [call(asked)]}
        reason = "tool_calls"
    return {"index": index, "message": message, "finish_reason": reason, "logprobs": None}


def call(asked: Message) -> Message:
    """Return a call of the first function the request offers, with what was last said."""
    tools = asked.get("tools") or [{"function": {"name": "lookup"}}]
    arguments = json.dumps({"query": said(asked)})
    function = {"name": tools[0]["function"]["name"], "arguments": arguments}
    return {"id": "call_scripted", "type": "function", "function": function}


def base(path: str, asked: Message) -> Message:
    """Return what every chunk of an answer begins with."""
    is_chat = path.endswith("/chat/completions")
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": 1_700_000_000,
        "model": asked.get("model"),
    }


def said(asked: Message) -> str:
    """Return the last thing a request says."""
    if "messages" in asked:
        content = asked["messages"][-1].get("content") or ""
    else:
        content = asked.get("input", asked.get("prompt", ""))
    if isinstance(content, list):
        content = " ".join(part if isinstance(part, str) else text_of(part) for part in content)
    return str(content)


def text_of(part: Message) -> str:
    """Return the text of one part of a message."""
    inner = part.get("text", part.get("content", ""))
    return inner if isinstance(inner, str) else " ".join(text_of(each) for each in inner)


def embeddings(asked: Message) -> Message:
    """Return vectors that depend on the texts' lengths alone."""
    given = asked.get("input", "")
    texts = given if isinstance(given, list) else [given]
    data = [
        {"object": "embedding", "index": index, "embedding": [len(str(text)) / 100, 0.5, -0.5]}
        for index, text in enumerate(texts)
    ]
    count = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": asked.get("model"), "usage": count}


def usage(asked: Message, words: int) -> Message:
    """Count words as tokens."""
    prompt = len(said(asked).split())
    return {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}


def model(name: str) -> Message:
    """Return a model as the list of models shows it."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "script"}


def event(data: Message) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


async def answer(send: Send, data: Message, status: int = 200, headers: Headers = ()) -> None:
    """Send JSON."""
    body = json.dumps(data, separators=(",", ":")).encode()
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"application/json")
    start = {"type": "http.response.start", "status": status, "headers": [kind, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, status: int, headers: Headers = ()) -> None:
    """Send an error in OpenAI's form."""
    error = {"message": f"scripted {status}", "type": "scripted", "param": None, "code": "scripted"}
    await answer(send, {"error": error}, status, headers)


async def read(receive: Receive) -> bytes:
    """Read a request's body."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def gone(receive: Receive, name: str) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if name:
        SEEN.cancelled[name] = SEEN.cancelled.get(name, 0) + 1


async def lifespan(receive: Receive, send: Send) -> None:
    """Begin and end."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    print(f"scripted model on http://{options.host}:{options.port}/v1", flush=True)
    uvicorn.run(app, host=options.host, port=options.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()

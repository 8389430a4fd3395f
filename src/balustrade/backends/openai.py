"""Answer calls by any server that speaks OpenAI's protocol: chat, moderations, embeddings."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from balustrade.backends import openai_wire as wire
from balustrade.core.call import (
    Call,
    Chat,
    Classify,
    Embed,
    Failed,
    Generate,
    Reply,
    Spoken,
    Texts,
    Vectors,
)
from balustrade.core.errors import BackendError, MissingExtraError
from balustrade.core.registry import require
from balustrade.core.spec import Count, Positive, Spec

if TYPE_CHECKING:
    import httpx

LARGEST_ANSWER = 32_000_000
"""Bytes a server's answer may have."""

LONGEST_WAIT = 5.0
"""Seconds to wait before asking again, though the server may ask for more."""

PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses after which the same request may well succeed."""

REFUSED = frozenset({400, 422})
"""Statuses by which a server says that it does not know an option."""


class Server(Spec, frozen=True):
    """Where a model is served, and how long to wait for it."""

    base_url: str
    """As OpenAI's client takes it, usually ending in `/v1`."""

    model: str = ""
    """The model's name there; empty if it is the name that guards use."""

    key_env: str = ""
    """The environment variable that holds the key; none is sent if this is empty."""

    timeout: Positive = 30.0
    """Seconds without a byte after which a request is given up."""

    attempts: Count = 3
    """How often to ask in all if the server is busy or out of reach."""

    wait: Positive = 0.25
    """Seconds before the second attempt; doubled for each further one."""

    concurrency: Count = 16
    """Requests in flight at once at most."""

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(
                f"expected base_url to start with http:// or https://, found {self.base_url!r}"
            )


class OpenAI:
    """A backend for one server; failures are replies.

    Requests are made in threads, so one object serves any number of event loops and threads, one
    after the other or at once. What a server refuses (constrained answers, log-probabilities) is
    left out, and not tried again.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._pool = ThreadPoolExecutor(server.concurrency, thread_name_prefix="balustrade-openai")
        self._lock = Lock()
        self._client: httpx.Client | None = None
        self._rung = 0
        self._converses = 0
        self._count = 0

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        """Answer each call in order."""
        jobs = [self._jobs(call) for call in calls]
        flat = [job for own in jobs for job in own]
        answers = list(self._pool.map(self._done, flat)) if len(flat) > 1 else None
        if answers is None:
            answers = [self._done(job) for job in flat]
        return _replies(calls, jobs, answers)

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer each call in order, without holding up the loop."""
        jobs = [self._jobs(call) for call in calls]
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(self._pool, self._done, job) for own in jobs for job in own)
        )
        return _replies(calls, jobs, answers)

    def close(self) -> None:
        """Close connections; take no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _jobs(self, call: Call) -> list[_Job]:
        match call:
            case Generate():
                return [_Job(call, number) for number in range(len(call.prompts))]
            case Chat():
                return [_Job(call)]
            case Classify() | Embed():
                return [_Job(call, 0)] if call.texts else []
            case _:
                return []

    def _done(self, job: _Job) -> _Made:
        """Return what the server made of a job, or a failure; of a conversation, how long it took.

        Attempts and the waits between them count.
        """
        started = time.perf_counter()
        made = self._tried(job)
        if isinstance(job.call, Chat) and isinstance(made, Spoken | Failed):
            return replace(made, seconds=time.perf_counter() - started)
        return made

    def _tried(self, job: _Job) -> _Made:
        try:
            return self._ask(job)
        except (BackendError, MissingExtraError) as error:
            return Failed(str(error))
        except msgspec.DecodeError as error:
            return Failed(f"model {job.call.model!r} gave an answer of another form: {error}")

    def _ask(self, job: _Job) -> _Made:
        model = self.server.model or job.call.model
        match job.call:
            case Generate():
                ask = self._complete if job.call.raw else self._chat
                return ask(job, job.call, model)
            case Chat():
                return self._converse(job, job.call, model)
            case Classify():
                body = wire.moderation(job.call, model)
                return wire.scores(job.call, self._expected(job, "/moderations", body))
            case Embed():
                body = wire.embedding(job.call, model)
                return wire.vectors(job.call, self._expected(job, "/embeddings", body))

    def _chat(self, job: _Job, call: Generate, model: str) -> wire.Said:
        tries = wire.tries(
            lambda rung: wire.chat(call, job.number, model, rung), wire.RUNGS, self._rung
        )
        number, content = self._taken(job, tries)
        self._rung = max(self._rung, number)
        return wire.said(call, content)

    def _converse(self, job: _Job, call: Chat, model: str) -> Spoken:
        tries = wire.tries(
            lambda rung: wire.converse(call, model, rung), wire.CONVERSES, self._converses
        )
        number, content = self._taken(job, tries)
        self._converses = max(self._converses, number)
        return wire.spoken(call, content)

    def _taken(self, job: _Job, tries: Iterator[tuple[int, wire.Body]]) -> tuple[int, bytes]:
        """Ask with the most options the server is known to take; step down where it refuses.

        Returns:
            The number of the rung that was taken, and the answer.
        """
        answer = None
        for number, body in tries:
            answer = self._post(job, "/chat/completions", body)
            if answer.status not in REFUSED:
                return number, answer.content
        assert answer is not None, "there is always a rung to try"
        raise _complaint(job, answer)

    def _complete(self, job: _Job, call: Generate, model: str) -> wire.Said:
        """Ask for a raw prompt's continuation, with as many alternatives as the server gives."""
        answer = None
        for count in wire.COUNTS[self._count :]:
            body = wire.completion(call, job.number, model, count)
            answer = self._post(job, "/completions", body)
            if answer.status not in REFUSED or not call.logprobs:
                break
            self._count = min(self._count + 1, len(wire.COUNTS) - 1)
        assert answer is not None, "there is always a count to ask for"
        if answer.status != 200:
            raise _complaint(job, answer)
        return wire.continued(call, answer.content)

    def _post(self, job: _Job, path: str, body: dict[str, Any]) -> _Answer:
        """Return an answer that is good, or refuses the request's form; ask again if it may help.

        Raises:
            BackendError: The server is out of reach, or answered with another status.
        """
        data = msgspec.json.encode(body)
        for attempt in range(self.server.attempts):
            is_last = attempt == self.server.attempts - 1
            wait = self.server.wait * 2**attempt
            try:
                answer = self._once(path, data)
            except _unreachable() as error:
                if is_last:
                    raise _silence(job, error) from error
            except _failures() as error:
                raise _silence(job, error) from error
            else:
                if answer.status == 200 or answer.status in REFUSED:
                    return answer
                if is_last or answer.status not in PASSING:
                    raise _complaint(job, answer)
                wait = max(wait, answer.wait)
            time.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")

    def _expected(self, job: _Job, path: str, body: dict[str, Any]) -> bytes:
        answer = self._post(job, path, body)
        if answer.status != 200:
            raise _complaint(job, answer)
        return answer.content

    def _once(self, path: str, data: bytes) -> _Answer:
        url = self.server.base_url.rstrip("/") + path
        with self._connected().stream("POST", url, content=data) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    raise BackendError(f"the answer has more than {LARGEST_ANSWER} bytes")
            return _Answer(response.status_code, bytes(content), _seconds(response.headers))

    def _connected(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = _client(self.server)
            return self._client


_Made: TypeAlias = wire.Said | Spoken | Vectors | Failed


class _Job(NamedTuple):
    """One request: a call, and which of its prompts."""

    call: Generate | Chat | Classify | Embed
    number: int = 0


class _Answer(NamedTuple):
    status: int
    content: bytes
    wait: float
    """Seconds the server asks to wait before the next attempt, 0 if it says nothing."""


def _client(server: Server) -> httpx.Client:
    require("backend 'openai'", "httpx")
    import httpx  # noqa: PLC0415 - an optional extra

    headers = {"content-type": "application/json"}
    if server.key_env:
        key = os.environ.get(server.key_env, "")
        if not key:
            raise BackendError(f"the environment variable {server.key_env!r} holds no key")
        headers["authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=server.concurrency)
    return httpx.Client(headers=headers, timeout=server.timeout, limits=limits)


def _unreachable() -> tuple[type[Exception], ...]:
    """Return the errors after which nothing was done, or the connection broke off."""
    import httpx  # noqa: PLC0415 - an optional extra

    return (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.RemoteProtocolError)


def _failures() -> tuple[type[Exception], ...]:
    import httpx  # noqa: PLC0415 - an optional extra

    return (httpx.HTTPError, httpx.InvalidURL)


def _silence(job: _Job, error: Exception) -> BackendError:
    return BackendError(f"model {job.call.model!r} did not answer: {type(error).__name__}")


def _complaint(job: _Job, answer: _Answer) -> BackendError:
    return BackendError(
        f"model {job.call.model!r} answered with HTTP {answer.status}{wire.reason(answer.content)}"
    )


def _seconds(headers: httpx.Headers) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _replies(
    calls: Sequence[Call], jobs: Sequence[Sequence[_Job]], answers: Sequence[_Made]
) -> list[Reply]:
    """Return one reply for each call; a call one of whose prompts failed has failed."""
    remaining = iter(answers)
    return [
        _reply(call, [next(remaining) for _ in own]) for call, own in zip(calls, jobs, strict=True)
    ]


def _reply(call: Call, answers: Sequence[_Made]) -> Reply:
    failed = next((answer for answer in answers if isinstance(answer, Failed)), None)
    if failed is not None:
        return failed
    match call:
        case Generate():
            said = [answer for answer in answers if isinstance(answer, wire.Said)]
            logprobs = tuple(answer.logprobs for answer in said)
            return Texts(tuple(a.text for a in said), logprobs if any(logprobs) else ())
        case Chat():
            return next((a for a in answers if isinstance(a, Spoken)), Failed("no answer"))
        case Classify() | Embed():
            return next((a for a in answers if isinstance(a, Vectors)), Vectors(b"", 0))
        case _:
            kind, model = type(call).__name__.lower(), getattr(call, "model", "")
            return Failed(f"model {model!r}: a server cannot answer {kind!r}")

"""The upstream client against servers that do as they like, byte by byte."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from balustrade.core.errors import BackendError
from balustrade.gateway.breaker import Breaker
from balustrade.gateway.http import HttpError, Request
from balustrade.gateway.metrics import Metrics
from balustrade.gateway.settings import Breaker as BreakerSpec
from balustrade.gateway.settings import Retries, Timeouts, UpstreamSpec
from balustrade.gateway.upstream import Flowing, Reply, Upstream, Upstreams

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
QUICK = Timeouts(connect=0.5, read=0.3, total=2.0)
Play = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def upstream(play: Play, **options: Any) -> AsyncIterator[tuple[Upstream, list[int]]]:
    """Serve each connection, numbered from 0, as `play` does; give an upstream that asks it."""
    numbers: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        numbers.append(len(numbers))
        try:
            await play(numbers[-1], reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fields: dict[str, Any] = {"timeouts": QUICK, "retries": Retries(attempts=1), **options}
    asked = Upstream(UpstreamSpec("up", f"http://127.0.0.1:{port}/v1", **fields), Metrics())
    try:
        yield asked, numbers
    finally:
        asked.close()
        server.close()


async def head(reader: asyncio.StreamReader) -> bytes:
    """Read one request."""
    lines = await reader.readuntil(b"\r\n\r\n")
    size = int(lines.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return lines + await reader.readexactly(size)


def answering(*answers: bytes) -> Play:
    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for answer in answers:
            await head(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return play


async def post(asked: Upstream) -> Reply:
    return await asked.post(Request("POST", "/"), "/chat/completions", b'{"a":1}')


async def stream(asked: Upstream) -> Flowing:
    return await asked.stream(Request("POST", "/"), "/chat/completions", b"{}")


def failure(play: Play, **options: Any) -> HttpError:
    """Return the error of one call."""

    async def go() -> HttpError:
        async with upstream(play, **options) as (asked, _):
            with pytest.raises(HttpError) as raised:
                await post(asked)
            return raised.value

    return asyncio.run(go())


def test_one_connection_serves_many_calls() -> None:
    async def go() -> None:
        async with upstream(answering(OK, OK, OK)) as (asked, numbers):
            replies = [(await post(asked)).body for _ in range(3)]
            assert replies == [b"{}"] * 3
            assert numbers == [0]

    asyncio.run(go())


def test_what_is_sent_is_one_plain_request() -> None:
    seen: list[bytes] = []

    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        seen.append(await head(reader))
        writer.write(OK)

    async def go() -> None:
        async with upstream(play, api_key="k" * 20) as (asked, _):
            request = Request("POST", "/", [(b"cookie", b"private"), (b"traceparent", b"00-ab")])
            request.id = "req_1"
            await asked.post(request, "/chat/completions", b'{"a":1}')

    asyncio.run(go())
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert f"authorization: Bearer {'k' * 20}" in lines
    assert "x-request-id: req_1" in lines
    assert "traceparent: 00-ab" in lines
    assert "private" not in seen[0].decode()
    assert lines[-1] == '{"a":1}'


def test_a_connection_closed_while_idle_is_replaced_without_a_word() -> None:
    async def play(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK)
        if number == 0:
            await reader.readexactly(1)
        else:
            await reader.read()

    async def go() -> None:
        async with upstream(play) as (asked, numbers):
            await post(asked)
            assert (await post(asked)).status == 200
            assert numbers == [0, 1]
            assert asked.breaker.state == "closed"

    asyncio.run(go())


def test_an_answer_in_chunks_with_a_provisional_head_is_whole() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    async def go() -> None:
        async with upstream(answering(answer, OK)) as (asked, numbers):
            assert (await post(asked)).body == b"abcde"
            assert (await post(asked)).body == b"{}"
            assert numbers == [0]

    asyncio.run(go())


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_how_an_answer_is_cut_into_packets_makes_no_difference(size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + b"x" * 3000

    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await head(reader)
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await asyncio.sleep(0)

    async def go() -> None:
        async with upstream(play) as (asked, _):
            assert (await post(asked)).body == b"x" * 3000

    asyncio.run(go())


def test_an_answer_that_is_no_http_is_broken() -> None:
    error = failure(answering(b"SSH-2.0-OpenSSH\r\n\r\n"))
    assert (error.status, error.reason) == (502, "upstream_broken")


def test_an_answer_that_breaks_off_is_broken_and_not_asked_again() -> None:
    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nonly this")

    async def go() -> None:
        async with upstream(play, retries=Retries(attempts=3, wait=0.01)) as (asked, numbers):
            with pytest.raises(HttpError, match="broke off"):
                await post(asked)
            assert numbers == [0]

    asyncio.run(go())


def test_a_connection_closed_before_any_byte_is_asked_again() -> None:
    async def play(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        if number:
            writer.write(OK)

    async def go() -> None:
        async with upstream(play, retries=Retries(attempts=2, wait=0.01)) as (asked, numbers):
            assert (await post(asked)).status == 200
            assert numbers == [0, 1]

    asyncio.run(go())


def test_headers_and_answers_are_bounded() -> None:
    many = b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n"
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
    assert "65536 bytes of headers" in failure(answering(many)).message
    assert "more than 100000 bytes" in failure(answering(large), max_answer_mb=0.1).message


def test_a_busy_upstream_that_asks_for_too_long_a_wait_is_believed() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"
    error = failure(answering(busy), retries=Retries(attempts=3))
    assert error.status == 503
    assert error.headers == ((b"retry-after", b"60"),)


def test_a_redirect_is_not_followed() -> None:
    away = b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
    assert failure(answering(away)).status == 502


def test_a_slow_first_byte_is_waited_for_only_so_long() -> None:
    error = failure(answering(b""))
    assert (error.status, error.reason) == (504, "upstream_timeout")


def test_an_answer_without_end_is_given_up() -> None:
    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    timeouts = Timeouts(connect=0.5, read=0.3, total=0.6)
    error = failure(play, timeouts=timeouts)
    assert "did not finish" in error.message


def test_a_reader_that_is_slow_slows_the_upstream_down() -> None:
    written = 0

    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal written
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2000):
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()
            written += 0x4000
        writer.write(b"0\r\n\r\n")

    async def go() -> None:
        async with upstream(play) as (asked, _):
            flowing = await stream(asked)
            first = await anext(flowing.pieces)
            await asyncio.sleep(0.5)
            held = written
            total = len(first) + sum([len(piece) async for piece in flowing.pieces])
            assert held < 16_000_000
            assert total == 2000 * 0x4000

    asyncio.run(go())


def test_a_stream_that_is_closed_early_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        gone.set()

    async def go() -> None:
        async with upstream(play) as (asked, _):
            flowing = await stream(asked)
            assert await anext(flowing.pieces) == b"x"
            await flowing.pieces.aclose()
            async with asyncio.timeout(5):
                await gone.wait()

    asyncio.run(go())


def test_a_stream_that_breaks_says_who_broke_it() -> None:
    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)

    async def go() -> None:
        async with upstream(play) as (asked, _):
            flowing = await stream(asked)
            assert await anext(flowing.pieces) == b"x"
            with pytest.raises(BackendError, match="upstream 'up' broke off its answer"):
                await anext(flowing.pieces)

    asyncio.run(go())


def test_no_more_connections_are_open_than_allowed() -> None:
    busy = 0
    most = 0

    async def play(
        _number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal busy, most
        while True:
            await head(reader)
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.02)
            busy -= 1
            writer.write(OK)

    async def go() -> None:
        async with upstream(play, connections=3) as (asked, numbers):
            replies = await asyncio.gather(*(post(asked) for _ in range(12)))
            assert [reply.status for reply in replies] == [200] * 12
            assert most == 3
            assert len(numbers) == 3

    asyncio.run(go())


def test_a_call_that_is_cancelled_gives_its_place_back() -> None:
    async def play(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        if number:
            writer.write(OK)
        await reader.read()

    async def go() -> None:
        async with upstream(play, connections=1) as (asked, _):
            task = asyncio.ensure_future(post(asked))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await post(asked)).status == 200

    asyncio.run(go())


def test_an_upstream_over_tls_is_believed_only_with_its_certificate(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl on the PATH")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def go() -> tuple[int, HttpError]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        once = Retries(attempts=1)
        known = UpstreamSpec("known", url, ca_file=str(certificate), retries=once)
        reply = await post(Upstream(known, Metrics()))
        with pytest.raises(HttpError) as raised:
            await post(Upstream(UpstreamSpec("unknown", url, retries=once), Metrics()))
        server.close()
        return reply.status, raised.value

    status, error = asyncio.run(go())
    assert status == 200
    assert error.status == 502
    assert "certificate" in error.message


def test_models_are_found_by_name_then_prefix_then_default() -> None:
    specs = [
        UpstreamSpec("named", "http://x/v1", models=("m",)),
        UpstreamSpec("short", "http://x/v1", prefix="a/"),
        UpstreamSpec("long", "http://x/v1", prefix="a/b/"),
        UpstreamSpec("rest", "http://x/v1", default=True),
    ]
    upstreams = Upstreams(specs, Metrics())
    found = {m: upstreams.find(m) for m in ("m", "a/c", "a/b/c", "z")}
    names = {m: (target.upstream.name, target.model) for m, target in found.items()}
    assert names == {
        "m": ("named", "m"),
        "a/c": ("short", "c"),
        "a/b/c": ("long", "c"),
        "z": ("rest", "z"),
    }


def test_a_model_nobody_serves_is_named() -> None:
    with pytest.raises(HttpError) as unknown:
        Upstreams([UpstreamSpec("a", "http://x/v1", models=("m",))], Metrics()).find("n")
    with pytest.raises(HttpError) as none:
        Upstreams([], Metrics()).find("n")
    assert (unknown.value.status, unknown.value.param) == (404, "model")
    assert (none.value.status, none.value.reason) == (503, "no_upstream")


def test_a_breaker_lets_one_call_try_after_its_rest() -> None:
    breaker = Breaker(BreakerSpec(failures=2, rest=0.01))
    breaker.failed()
    assert breaker.admits()
    breaker.failed()
    refused = not breaker.admits() or breaker.state == "half-open"
    asyncio.run(asyncio.sleep(0.02))
    tries = [breaker.admits(), breaker.admits()]
    breaker.dropped()
    after_drop = breaker.admits()
    breaker.succeeded()
    assert refused
    assert tries == [True, False]
    assert after_drop
    assert breaker.state == "closed"

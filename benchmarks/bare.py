"""The least a proxy can do: one pattern over the body, and everything passed through.

What the gateway costs is judged beside this (benchmarks/gateway.py).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvicorn

PATTERN = re.compile(rb"forbidden|prohibited|secret sauce", re.IGNORECASE)
Message = dict[str, Any]


class Proxy:
    """An ASGI application in front of one upstream."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removesuffix("/v1")
        self.session: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        if PATTERN.search(body):
            await send({**start, "status": 400})
            await send({"type": "http.response.body"})
            return
        headers = {"content-type": "application/json"}
        try:
            await self._pass_on(scope, body, headers, start, send)
        except aiohttp.ServerDisconnectedError:
            # The upstream closed a kept connection as it was taken up: nothing has left yet.
            await self._pass_on(scope, body, headers, start, send)

    async def _pass_on(
        self,
        scope: Message,
        body: bytes,
        headers: dict[str, str],
        start: Message,
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        assert self.session is not None
        async with self.session.request(
            scope["method"], self.upstream + scope["path"], data=body, headers=headers
        ) as answer:
            kind = answer.headers.get("content-type", "").encode()
            await send({**start, "status": answer.status, "headers": [(b"content-type", kind)]})
            async for piece in answer.content.iter_any():
                PATTERN.search(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(
        Proxy(options.upstream),
        host="127.0.0.1",
        port=options.port,
        lifespan="off",
        log_level="critical",
        access_log=False,
        loop="uvloop",
    )


if __name__ == "__main__":
    main()

"""Answer classification calls with a server's `/v1/moderations` endpoint.

The labels are the categories of the server's answer and, last, `flagged`: what the server itself
decided. The endpoint has no place for what a text answers, so contexts are not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from time import sleep
from typing import Any, cast

import msgspec
from msgspec import Struct

from balustrade.core.call import Call, Classify, Failed, Reply, Vectors
from balustrade.core.errors import BackendError
from balustrade.core.registry import require

FLAGGED = "flagged"
BUSY = frozenset({429, 502, 503, 504})


class _Result(Struct):
    flagged: bool
    category_scores: dict[str, float]


class _Answer(Struct):
    results: list[_Result]


class Moderations(Struct, frozen=True, dict=True):
    """A moderation endpoint; connections are kept, a busy server is asked again."""

    url: str
    """The API's address, up to and with `/v1`."""
    model: str = ""
    key: str = ""
    timeout_seconds: float = 30.0
    batch: int = 32
    """Texts a request."""
    retries: int = 3
    wait_seconds: float = 0.5
    """Before the first retry; doubled before each other."""

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        """Answer each call in order; what cannot be answered is a failure."""
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the calls in a thread, off the loop."""
        return await asyncio.to_thread(self.send, calls)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @cached_property
    def _httpx(self) -> Any:  # noqa: ANN401 - httpx is optional, so it is unknown to the types
        return require(f"server {self.url!r}", "httpx")

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return self._httpx.Client(
            base_url=self.url.rstrip("/"), headers=headers, timeout=self.timeout_seconds
        )

    def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Classify):
            return Failed(f"server {self.url!r} answers only classifications")
        results: list[_Result] = []
        try:
            for start in range(0, len(call.texts), self.batch):
                results += self._ask(call.texts[start : start + self.batch])
        except BackendError as error:
            return Failed(str(error))
        names = sorted({name for result in results for name in result.category_scores})
        rows = [
            [*(result.category_scores.get(name, 0.0) for name in names), float(result.flagged)]
            for result in results
        ]
        return Vectors.of(rows, (*names, FLAGGED))

    def _ask(self, texts: Sequence[str]) -> list[_Result]:
        body: dict[str, object] = {"input": list(texts)}
        if self.model:
            body["model"] = self.model
        response = self._post(body)
        if response.status_code != 200:
            raise BackendError(
                f"server {self.url!r} answered {response.status_code}: {response.text[:200]}"
            )
        try:
            results = msgspec.json.decode(response.content, type=_Answer).results
        except msgspec.MsgspecError as error:
            raise BackendError(f"server {self.url!r}: expected moderations, {error}") from error
        if len(results) != len(texts):
            raise BackendError(
                f"server {self.url!r} gave {len(results)} results for {len(texts)} texts"
            )
        return results

    def _post(self, body: dict[str, object]) -> Any:  # noqa: ANN401
        for attempt in range(self.retries + 1):
            try:
                response = self._client.post("/moderations", json=body)
            except self._httpx.HTTPError as error:
                if attempt == self.retries:
                    raise BackendError(
                        f"server {self.url!r} did not answer: {_said(cast('Exception', error))}"
                    ) from error
            else:
                if response.status_code not in BUSY or attempt == self.retries:
                    return response
            sleep(self.wait_seconds * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

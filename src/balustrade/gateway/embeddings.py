"""POST /v1/embeddings: texts judged by the input rail, and passed on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from balustrade.core.content import Content, Role, Stage, Text
from balustrade.gateway.ask import Question, broken, spend
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request
from balustrade.gateway.shapes import Model
from balustrade.gateway.wire import Reader, Tree, extended, unreadable
from balustrade.rails.pipeline import Outcome
from balustrade.rails.turns import Turn

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PATH = "/embeddings"
Inputs = Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=2048)]


class EmbeddingRequest(Struct):
    """POST /v1/embeddings; fields not named here go upstream untouched."""

    model: Model
    input: str | Inputs


READER = Reader(EmbeddingRequest)


async def embed(state: State, request: Request) -> Answer:
    """Pass on texts that the input rail lets by, masked where it masks; vectors come back as is.

    Raises:
        HttpError: The body is wrong, upstream fails, or a text is refused: vectors have no form
            for a refusal, so that is an error whatever the policy says.
    """
    body, tree = READER.read(request.body)
    exchange = Exchange(state, request, body.model)
    question = Question(exchange, PATH)
    contents = _contents(body)
    turns = [Turn(number, 0, Stage.INPUT, content) for number, content in enumerate(contents)]
    started = time.perf_counter()
    judged = await exchange.run(exchange.pipeline.judge(turns, exchange.vault))
    exchange.take(judged, started)
    await exchange.record()
    decision = exchange.decision
    if decision is not None and Outcome(tuple(judged)).stops:
        raise exchange.error(decision)
    _rewrite(body, tree, [judge.decision.content for judge in judged])
    data = await question.whole(tree)
    spend(exchange, data)
    if not data.rstrip().endswith(b"}") or b'"data"' not in data:
        raise broken("upstream did not answer as an embeddings endpoint does")
    return Answer(body=extended(data, exchange.extension()), headers=exchange.headers())


def _contents(body: EmbeddingRequest) -> list[Content]:
    given = [body.input] if isinstance(body.input, str) else body.input
    contents = []
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise unreadable("expected text; token numbers cannot be judged", f"input[{number}]")
        contents.append(Content((Text(text),), Role.USER))
    return contents


def _rewrite(body: EmbeddingRequest, tree: Tree, contents: list[Content]) -> None:
    texts = [content.text for content in contents]
    tree["input"] = texts[0] if isinstance(body.input, str) else texts

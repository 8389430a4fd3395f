"""POST /v1/completions: prompts judged, continued, and what continues them judged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from balustrade.core.content import Content, Role, Stage, Text, words
from balustrade.gateway.ask import Question, broken, spend
from balustrade.gateway.completionstream import CompletionStream
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request, Streamed
from balustrade.gateway.routing import expect_unrouted
from balustrade.gateway.shapes import Model
from balustrade.gateway.sse import DONE, event
from balustrade.gateway.wire import Reader, Tree, encode, extended, put, unreadable
from balustrade.rails.pipeline import Outcome
from balustrade.rails.turns import Turn

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PATH = "/completions"
Prompts = Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=2048)]


class CompletionRequest(Struct):
    """POST /v1/completions; fields not named here go upstream untouched."""

    model: Model
    prompt: str | Prompts
    suffix: str | None = None
    stream: bool | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None


class Continuation(Struct):
    """One of the alternatives."""

    text: str
    index: int = 0


class Completion(Struct):
    """An upstream's answer."""

    choices: list[Continuation]


READER = Reader(CompletionRequest)
_decoder = msgspec.json.Decoder(Completion)
_any = msgspec.json.Decoder()


async def complete(state: State, request: Request) -> Answer | Streamed:
    """Answer a completion request.

    Raises:
        HttpError: The body is wrong, the policy refuses with errors, or upstream fails.
    """
    body, tree = READER.read(request.body)
    exchange = Exchange(state, request, body.model)
    expect_unrouted(exchange)
    question = Question(exchange, PATH)
    prompts = _prompts(body)
    turns = [Turn(number, 0, Stage.INPUT, prompt) for number, prompt in enumerate(prompts)]
    started = time.perf_counter()
    judged = await exchange.run(exchange.pipeline.judge(turns, exchange.vault))
    exchange.take(judged, started)
    if Outcome(tuple(judged)).stops:
        await exchange.record()
        return _refuse(exchange, body, len(prompts))
    seen = [Content(judge.decision.content.parts, Role.USER) for judge in judged]
    _rewrite(body, tree, prompts, seen)
    count = body.n or 1
    if body.stream:
        pieces = await question.stream(tree)
        stream = CompletionStream(exchange, seen, count)
        return Streamed(stream.run(pieces), headers=exchange.headers())
    data = await question.whole(tree)
    spend(exchange, data)
    answer = await _judged(exchange, seen, count, data)
    return Answer(body=answer, headers=exchange.headers())


def _prompts(body: CompletionRequest) -> list[Content]:
    """Return each prompt, the text that is to follow it as its second part."""
    given = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    prompts = []
    for number, prompt in enumerate(given):
        if not isinstance(prompt, str):
            where = f"prompt[{number}]"
            raise unreadable("expected text; token numbers cannot be judged", where)
        parts = (Text(prompt),) if body.suffix is None else (Text(prompt), Text(body.suffix))
        prompts.append(Content(parts, Role.USER))
    return prompts


def _rewrite(
    body: CompletionRequest, tree: Tree, prompts: Sequence[Content], seen: Sequence[Content]
) -> None:
    for number, (before, after) in enumerate(zip(prompts, seen, strict=True)):
        if before.parts == after.parts:
            continue
        texts = [words(part) for part in after.parts]
        put(tree, ("prompt",) if isinstance(body.prompt, str) else ("prompt", number), texts[0])
        if len(texts) > 1:
            tree["suffix"] = texts[1]


async def _judged(exchange: Exchange, seen: Sequence[Content], count: int, data: bytes) -> bytes:
    try:
        completion = _decoder.decode(data)
        tree: Tree = _any.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        await exchange.record()
        raise broken(f"upstream did not answer as it must: {error}") from error
    turns = []
    for slot, choice in enumerate(completion.choices):
        history = (seen[min(choice.index // count, len(seen) - 1)],)
        said = Content((Text(choice.text),), Role.ASSISTANT, history)
        turns.append(Turn(slot, 0, Stage.OUTPUT, said))
    started = time.perf_counter()
    judged = await exchange.run(exchange.pipeline.judge_answers(seen, turns, exchange.vault))
    exchange.take(judged, started)
    await exchange.record()
    if exchange.answers_errors and judged and all(j.decision.action.stops for j in judged):
        decision = exchange.decision
        assert decision is not None
        raise exchange.error(decision)
    is_new = False
    for choice_tree, judge in zip(tree["choices"], judged, strict=True):
        decision = judge.decision
        if decision.action.stops:
            text, choice_tree["finish_reason"] = exchange.message(decision), "content_filter"
        else:
            text = exchange.vault.unmask(decision.content.text)
        if text != choice_tree["text"]:
            choice_tree["text"], choice_tree["logprobs"] = text, None
            is_new = True
    return extended(encode(tree) if is_new else data, exchange.extension())


def _refuse(exchange: Exchange, body: CompletionRequest, prompts: int) -> Answer | Streamed:
    decision = exchange.decision
    assert decision is not None
    if exchange.answers_errors:
        raise exchange.error(decision)
    text = exchange.message(decision)
    whole: dict[str, Any] = {
        "id": f"cmpl-{exchange.decision_id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": exchange.model,
        "choices": [
            {"index": index, "text": text, "logprobs": None, "finish_reason": "content_filter"}
            for index in range((body.n or 1) * prompts)
        ],
    }
    extension = {"balustrade": exchange.extension()}
    if body.stream:
        data = event(encode({**whole, **extension})) + DONE
        return Streamed(_once(data), headers=exchange.headers())
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return Answer.of({**whole, "usage": usage, **extension}, headers=exchange.headers())


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data

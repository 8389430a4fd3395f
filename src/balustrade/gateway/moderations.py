"""POST /v1/moderations: the input rail in OpenAI's moderation form."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from balustrade.core.content import Content, Image, Part, Text
from balustrade.core.decision import Decision
from balustrade.core.taxonomy import BY_NAME, OPENAI_CATEGORIES, TOXICITY
from balustrade.gateway.convert import image
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, Request
from balustrade.gateway.shapes import ImageAddress
from balustrade.gateway.wire import Reader, Tree, unreadable
from balustrade.policy.model import Policy

if TYPE_CHECKING:
    from balustrade.gateway.state import State

MODEL = "balustrade"
LARGEST_LIST = 2048
"""Texts in one request."""

_MAPPED = {**{name: hazard.openai for name, hazard in BY_NAME.items()}, TOXICITY: ("harassment",)}
_NO = dict.fromkeys(OPENAI_CATEGORIES, False)
_ZERO = dict.fromkeys(OPENAI_CATEGORIES, 0.0)
_TYPES: dict[tuple[str, ...], dict[str, list[str]]] = {
    kinds: {name: list(kinds) for name in OPENAI_CATEGORIES} for kinds in ((), ("text",))
}


class InputPart(Struct):
    """One part of an input that is no plain text."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageAddress | None = None


class ModerationRequest(Struct):
    """POST /v1/moderations."""

    input: str | Annotated[list[str | InputPart], Meta(min_length=1, max_length=LARGEST_LIST)]
    model: str | None = None


READER = Reader(ModerationRequest)


async def moderate(state: State, request: Request) -> Answer:
    """Judge one text, each of a list of texts, or one input of several parts.

    Raises:
        HttpError: The body is wrong, or the decisions could not be put on record.
    """
    body, _ = READER.read(request.body)
    exchange = Exchange(state, request, body.model or MODEL)
    contents = list(_contents(body, exchange.rails.document.image_hosts))
    started = time.perf_counter()
    decisions = await exchange.run(exchange.rails.input.check(contents))
    results = []
    for decision, content in zip(decisions, contents, strict=True):
        exchange.decided(decision, content, started)
        results.append(_result(exchange, decision, content))
    await exchange.record()
    answer = {
        "id": f"modr-{exchange.decision_id}",
        "model": exchange.model,
        "results": results,
        "balustrade": exchange.extension(),
    }
    return Answer.of(answer, headers=exchange.headers())


def _contents(body: ModerationRequest, hosts: Sequence[str]) -> Iterator[Content]:
    given = body.input
    if isinstance(given, str):
        yield Content((Text(given),))
    elif all(isinstance(each, str) for each in given):
        for each in given:
            yield Content((Text(str(each)),))
    else:
        yield Content(tuple(_part(each, slot, hosts) for slot, each in enumerate(given)))


def _part(part: str | InputPart, slot: int, hosts: Sequence[str]) -> Part:
    if isinstance(part, str):
        return Text(part)
    if part.type == "text":
        if part.text is None:
            raise unreadable("expected the part's text", f"input[{slot}].text")
        return Text(part.text)
    if part.image_url is None:
        raise unreadable("expected the image's address", f"input[{slot}].image_url")
    return image(part.image_url.url, f"input[{slot}].image_url.url", hosts)


def _result(exchange: Exchange, decision: Decision, content: Content) -> Tree:
    categories, scores = _NO, _ZERO
    if any(verdict.findings for verdict in decision.verdicts):
        scores = _scores(decision)
        categories = _categories(exchange.rails.input.policy, decision)
    return {
        "flagged": decision.flagged,
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": _types(exchange, content),
        "balustrade": exchange.extension(decision),
    }


def _scores(decision: Decision) -> dict[str, float]:
    """Return the highest score of any finding that stands for each category."""
    scores = dict(_ZERO)
    for verdict in decision.verdicts:
        for finding in verdict.findings:
            for name in _MAPPED.get(finding.category, ()):
                scores[name] = max(scores[name], finding.score)
    return scores


def _categories(policy: Policy, decision: Decision) -> dict[str, bool]:
    """Return the categories that a rule which fired stands for."""
    categories = dict(_NO)
    if decision.flagged:
        for fired in policy.fired(decision.verdicts):
            for name in _MAPPED.get(fired.finding.category, ()):
                categories[name] = True
    return categories


def _types(exchange: Exchange, content: Content) -> dict[str, Any]:
    """Return the kinds of input that each score rests on: those that some guard judges."""
    judges = exchange.rails.input.judges
    has_text = "text" in judges and any(isinstance(part, Text) for part in content.parts)
    has_image = "image" in judges and any(isinstance(part, Image) for part in content.parts)
    kinds = ("text",) * has_text + ("image",) * has_image
    return _TYPES.get(kinds) or {name: list(kinds) for name in OPENAI_CATEGORIES}

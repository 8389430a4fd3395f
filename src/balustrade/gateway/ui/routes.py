"""The console's handlers: judge a text, follow decisions, read the policy in force."""

from __future__ import annotations

import time
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from msgspec.structs import replace

from balustrade.core.content import Content, Role, Stage, Text, ToolCall
from balustrade.core.decision import Action, Decision
from balustrade.core.digest import digest
from balustrade.core.errors import BalustradeError
from balustrade.gateway.audit import may_see
from balustrade.gateway.auth import Key
from balustrade.gateway.exchange import Exchange
from balustrade.gateway.http import Answer, HttpError, Request
from balustrade.gateway.ui import pages
from balustrade.gateway.ui.markup import POLICY_HEADER
from balustrade.policy.model import ACTION_OF
from balustrade.rails.explanation import Explanation
from balustrade.rails.turns import Turn
from balustrade.verify.record import Record, decode

if TYPE_CHECKING:
    from balustrade.gateway.state import State

PAGE = 50
"""Decisions on one page."""

_HTML = b"text/html; charset=utf-8"
_HEADERS = (
    (b"content-security-policy", POLICY_HEADER.encode()),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
_ASSETS = {
    "style.css": b"text/css; charset=utf-8",
    "live.js": b"text/javascript; charset=utf-8",
    "watch.js": b"text/javascript; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}
_LONGEST = 100_000


async def playground(state: State, request: Request) -> Answer:
    """Show the playground."""
    return answered(pages.playground(state.rails_for(request.key), pages.Asked()))


async def check(state: State, request: Request) -> Answer:
    """Judge what the playground's form holds, put it on record, and show the decision."""
    expect_own_page(request)
    rails = state.rails_for(request.key)
    asked, problem = _asked(request)
    if problem:
        return answered(pages.playground(rails, asked, error=problem), 400)
    exchange = Exchange(state, request, "")
    content = _content(asked)
    started = time.perf_counter()
    try:
        turn = Turn(0, 0, asked.stage, content)
        [judged] = await exchange.run(exchange.pipeline.judge([turn], exchange.vault))
        spent = (time.perf_counter() - started) * 1000
        exchange.take([judged], started)
        await exchange.record()
    except BalustradeError as error:
        return answered(pages.playground(rails, asked, error=str(error)), 503)
    outcome = pages.Judged(content, judged.decision, exchange.decision_id, spent)
    if judged.decision.flagged:
        outcome = replace(outcome, explanation=await exchange.explain(content, judged.decision))
    return answered(pages.playground(rails, asked, outcome))


async def decisions(state: State, request: Request) -> Answer:
    """Show a page of decisions, newest first."""
    before = _position(state, request.query.get("before", ""), request.key)
    found = _visible(state, request.key, PAGE, before)
    older = found[-1].id if len(found) == PAGE else ""
    return answered(pages.decisions(found, older=older, is_newest=before is None))


async def rows(state: State, request: Request) -> Answer:
    """Return the rows of decisions newer than the one the page knows."""
    known = request.query.get("after", "")
    found = _visible(state, request.key, PAGE, None)
    fresh = found[: next((n for n, record in enumerate(found) if record.id == known), PAGE)]
    return answered(pages.rows(fresh))


async def decision(state: State, request: Request) -> Answer:
    """Show one decision."""
    record = state.audit.find(request.params["id"])
    if record is None or not may_see(request.key, record):
        raise HttpError(404, "no such decision is on record", code="not_found")
    return answered(pages.decision(record, await _explained(state, record)))


async def _explained(state: State, record: Record) -> Explanation | None:
    """Explain a recorded decision, if its content was kept as it came and its policy is in force.

    An answer is not: records hold no history, and it was judged with the request before it.
    """
    content = record.content
    if content is None or record.action == Action.ALLOW.word or content.role is Role.ASSISTANT:
        return None
    in_force = (rails for rails in state.policies.all.values() if rails.revision == record.revision)
    rails = next(in_force, None)
    if rails is None or digest(content) != record.digest:
        return None
    rail = rails.at(Stage(record.stage))
    judged = Decision(ACTION_OF[record.action], content, record.verdicts, record.rule)
    send = state.sender(rail.policy.timeout)
    return await state.explainer(rail, content, judged, send)


async def policy(state: State, request: Request) -> Answer:
    """Show the policy in force."""
    return answered(pages.policy(state.rails_for(request.key)))


async def asset(_: State, request: Request) -> Answer:
    """Return a file that pages need."""
    name = request.path.rpartition("/")[2]
    if name not in _ASSETS:
        raise HttpError(404, "no such file", code="not_found")
    data = (files("balustrade.gateway.ui") / name).read_bytes()
    return Answer(200, data, ((b"cache-control", b"max-age=300"),), _ASSETS[name])


def answered(data: bytes, status: int = 200) -> Answer:
    """Return a page as a response."""
    return Answer(status, data, _HEADERS, _HTML)


def expect_own_page(request: Request) -> None:
    """Refuse a form that another site's page sends with this browser's rights."""
    site = request.header(b"sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"}:
        raise HttpError(403, "this form may only be sent from the console's own page")


def _asked(request: Request) -> tuple[pages.Asked, str]:
    """Return the form's fields, and what is wrong with them if something is."""
    try:
        fields = parse_qs(
            request.body.decode("utf-8"), keep_blank_values=True, max_num_fields=10, errors="strict"
        )
    except (UnicodeDecodeError, ValueError):
        return pages.Asked(), "The form could not be read: expected fields in UTF-8."
    text = fields.get("text", [""])[0].replace("\r\n", "\n")
    wanted = fields.get("stage", ["input"])[0]
    if wanted not in {stage.value for stage in Stage}:
        return pages.Asked(text[:_LONGEST]), f"There is no stage {wanted!r}."
    asked = pages.Asked(text, Stage(wanted), fields.get("request", [""])[0])
    if not text.strip():
        return asked, "There is nothing to judge: the text is empty."
    if len(text) > _LONGEST:
        short = pages.Asked(text[:_LONGEST], asked.stage, asked.request)
        return short, f"The text has {len(text):,} characters, expected at most {_LONGEST:,}."
    return asked, ""


def _content(asked: pages.Asked) -> Content:
    history = (Content.of(asked.request),) if asked.request else ()
    match asked.stage:
        case Stage.INPUT:
            return Content.of(asked.text)
        case Stage.RETRIEVAL:
            return Content.of(asked.text, Role.DOCUMENT, history)
        case Stage.OUTPUT:
            return Content((Text(asked.text),), Role.ASSISTANT, history)
        case Stage.TOOL:
            return Content((ToolCall("playground", asked.text),), Role.ASSISTANT, history)


def _position(state: State, identifier: str, key: Key | None) -> int | None:
    entry = state.audit.log.find(identifier) if identifier else None
    return entry.position if entry and may_see(key, decode(entry.data)) else None


def _visible(state: State, key: Key | None, limit: int, before: int | None) -> list[Record]:
    """Return the latest records a key may see, looking through a bounded part of the log."""
    found: list[Record] = []
    for _ in range(10):
        page = state.audit.latest(limit, before)
        found += [record for _, record in page if may_see(key, record)]
        if len(page) < limit or len(found) >= limit:
            break
        before = page[-1][0]
    return found[:limit]

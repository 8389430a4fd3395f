"""What operators ask: is it well, what is counted, which policy is in force, what was decided."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from balustrade import __version__
from balustrade.core.errors import BalustradeError
from balustrade.gateway.audit import may_see
from balustrade.gateway.http import Answer, HttpError, Request
from balustrade.gateway.state import State
from balustrade.gateway.upstream import Upstream
from balustrade.rails.build import Rails
from balustrade.rails.describe import stages

STARTED = int(time.time())
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_MOST = 500


async def health(state: State, request: Request) -> Answer:  # noqa: ARG001 - one handler shape
    """Say that the process answers."""
    return Answer.of({"status": "ok", "version": __version__})


async def ready(state: State, request: Request) -> Answer:  # noqa: ARG001 - one handler shape
    """Say whether requests can be served: the log takes entries, the policies are in force.

    An upstream that is left alone does not make us unready: others may be well, and moderations
    need none.
    """
    problem = state.audit.error
    body = {
        "status": "unready" if problem else "ready",
        "audit": problem or "ok",
        "policies": {name: rails.revision for name, rails in state.policies.all.items()},
        "upstreams": {up.name: up.breaker.state for up in state.upstreams.all},
        "reload": state.reload_error or "ok",
    }
    return Answer.of(body, 503 if problem else 200)


async def metrics(state: State, request: Request) -> Answer:  # noqa: ARG001 - one handler shape
    """Return counters and histograms as Prometheus reads them."""
    known = state.metrics
    known.policy.values.clear()
    for name, rails in state.policies.all.items():
        known.policy.set((name, rails.revision), 1.0)
    known.in_flight.set((), float(state.in_flight))
    for upstream in state.upstreams.all:
        known.breaker.set((upstream.name,), float(upstream.breaker.state != "closed"))
    return Answer(body=known.render(), media_type=PROMETHEUS)


async def policy(state: State, request: Request) -> Answer:
    """Return the policy in force for whoever asks, with its revision."""
    rails = state.rails_for(request.key)
    return Answer.of(described(rails))


async def models(state: State, request: Request) -> Answer:
    """List the models that whoever asks may ask for, as OpenAI does."""
    return Answer.of({"object": "list", "data": await _models(state, request)})


async def model(state: State, request: Request) -> Answer:
    """Return one of them."""
    wanted = request.params["id"]
    for each in await _models(state, request):
        if each["id"] == wanted:
            return Answer.of(each)
    raise HttpError(
        404, f"the model {wanted!r} is not served here", code="model_not_found", param="model"
    )


async def decision(state: State, request: Request) -> Answer:
    """Return the record of one decision."""
    found = state.audit.find(request.params["id"])
    if found is None or not may_see(request.key, found):
        raise HttpError(404, "no decision has that id", code="decision_not_found", param="id")
    return Answer.of(found)


async def decisions(state: State, request: Request) -> Answer:
    """Return the latest decisions, newest first; `before` continues a list, `limit` bounds it."""
    limit = _number(request, "limit", 50)
    before = _number(request, "before", 0) or None
    rows = state.audit.latest(min(limit, _MOST), before)
    seen = [record for _, record in rows if may_see(request.key, record)]
    after = rows[-1][0] if rows else None
    return Answer.of({"object": "list", "data": seen, "before": after})


def described(rails: Rails) -> dict[str, Any]:
    """Return what is in force: guards, rules and thresholds of each stage."""
    return {
        "name": rails.document.name,
        "revision": rails.revision,
        "latency": rails.latency.name.lower(),
        "audit": rails.document.audit,
        "stages": stages(rails),
        "route": rails.document.stage.route,
    }


async def _models(state: State, request: Request) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    for upstream in state.upstreams.all:
        listed = list(upstream.spec.models)
        if not listed:
            listed = [upstream.spec.prefix + name for name in await _asked(request, upstream)]
        for name in listed:
            names.setdefault(name, upstream.name)
    key = request.key
    return [
        {"id": name, "object": "model", "created": STARTED, "owned_by": owner}
        for name, owner in names.items()
        if key is None or key.allows(name)
    ]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def _asked(request: Request, upstream: Upstream) -> list[str]:
    """Return the models an upstream says it has; none if it does not say."""
    try:
        reply = await upstream.get(request, "/models")
        return [each.id for each in msgspec.json.decode(reply.body, type=_Models).data]
    except (BalustradeError, msgspec.DecodeError, UnicodeDecodeError):
        return []


def _number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15 or int(text) < 1:
        raise HttpError(400, f"expected a whole number from 1 on, found {text!r}", param=name)
    return int(text)

"""What every handler may use: settings, rails in force, upstreams, the log, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from balustrade.backends import shipped
from balustrade.backends.route import Backend, Route
from balustrade.core.content import Content, Stage
from balustrade.core.registry import require
from balustrade.core.verdict import Verdict
from balustrade.flow.run import AsyncSend, arun
from balustrade.gateway.audit import Audit
from balustrade.gateway.auth import Key, Keys
from balustrade.gateway.explainer import Explainer
from balustrade.gateway.http import HttpError
from balustrade.gateway.limits import Budgets
from balustrade.gateway.metrics import Metrics
from balustrade.gateway.routing import Routers
from balustrade.gateway.sender import Sender
from balustrade.gateway.settings import ModelSpec, Settings
from balustrade.gateway.showing import Watchers
from balustrade.gateway.upstream import Upstreams
from balustrade.guards.neighbours import Known
from balustrade.policy.load import loads, presets, read
from balustrade.rails.build import Rails, build
from balustrade.rails.stream import Stream

if TYPE_CHECKING:
    from balustrade.gateway.reload import Reloader


LOGGER = logging.getLogger("balustrade.state")


class Policies(Struct, frozen=True):
    """The rails in force, by name; replaced as a whole when files change."""

    default: Rails
    named: Mapping[str, Rails]

    @property
    def all(self) -> dict[str, Rails]:
        """Every policy by name, the default under its document's name."""
        return {self.default.document.name: self.default, **self.named}


class State:
    """One server's parts. `policies` is the only one that changes while it runs.

    Args:
        settings: What it was told.
        policies: The rails to begin with; loaded from the settings if absent.

    Raises:
        BalustradeError: A policy, an upstream or the log cannot be made.
    """

    def __init__(self, settings: Settings, policies: Policies | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.policies = policies or load_policies(settings)
        self.keys = Keys(settings.keys)
        self.budgets = Budgets(self.metrics)
        self.upstreams = Upstreams(settings.upstreams, self.metrics)
        self.route = Route(backends(settings.models))
        self.routers = Routers(self)
        self.in_flight = 0
        """Requests being answered."""

        self.watchers = Watchers()
        self.explainer = Explainer(_known(settings))
        self._senders: dict[float, Sender] = {}
        self.audit = Audit(settings.audit, self.metrics)
        self.reloader: Reloader | None = None
        """What changes the policies while it runs; None if nothing does."""

    @property
    def reload_error(self) -> str:
        """Why changed files were not taken into force; empty if they were."""
        return self.reloader.error if self.reloader is not None else ""

    def rails_for(self, key: Key | None) -> Rails:
        """Return the rails in force for a key; ask once a request, and keep to the answer."""
        policies = self.policies
        if key is None or not key.policy:
            return policies.default
        rails = policies.named.get(key.policy)
        if rails is None:
            # Its settings were replaced while this request was on its way; never a lesser policy.
            raise HttpError(
                503, "the policy of this key was just replaced; try again", "server_error"
            )
        return rails

    def sender(self, seconds: float = 10.0) -> AsyncSend:
        """Return what answers guards' calls, each within so many seconds."""
        sender = self._senders.get(seconds)
        if sender is None:
            sender = self._senders[seconds] = Sender(
                self.route, seconds, lambda: self.in_flight > 1
            )
        return sender

    async def warm(self) -> None:
        """Judge one text at every stage, and the first words of a stream.

        So no request pays for loading models and tables.

        What fails here is told, for it fails again, closed and named, in requests.
        """
        text = Content.of("Warm up.")
        for name, rails in self.policies.all.items():
            for stage in Stage:
                rail = rails.at(stage)
                sender = self.sender(rail.policy.timeout)
                for decision in await arun(rail.check([text]), sender):
                    _tell(name, decision.verdicts)
            stream = Stream(rails.output, rails.document.stream)
            sender = self.sender(rails.output.policy.timeout)
            [(state, _)] = await arun(stream.step([stream.start(text)], [text.text]), sender)
            _tell(name, state.verdicts)
        for error in await asyncio.to_thread(self.route.load):
            LOGGER.error("a model cannot be loaded: %s", error)

    async def close(self) -> None:
        """Let go of everything; what waits for the log is written first."""
        await self.upstreams.close()
        await self.audit.drain()
        self.audit.close()
        self.route.close()


def _tell(policy: str, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.error:
            LOGGER.error(
                "policy %r: guard %r cannot judge: %s", policy, verdict.guard, verdict.error
            )


def load_policies(settings: Settings) -> Policies:
    """Load and build every policy the settings name.

    Raises:
        PolicyError: One of them is wrong; the message has file, line and key.
    """
    named = {name: _rails(settings, where) for name, where in settings.policies.items()}
    default = named.get(settings.policy)
    return Policies(default or _rails(settings, settings.policy), named)


def files(settings: Settings) -> list[str]:
    """Return the policy files in use, without presets."""
    known = set(presets())
    wanted = {*settings.policies.values()}
    if settings.policy not in settings.policies:
        wanted.add(settings.policy)
    return sorted(settings.path_of(name) for name in wanted - known)


def backends(models: Sequence[ModelSpec]) -> dict[str, Callable[[], Backend]]:
    """Return the makers of what answers for each model."""
    found = shipped.makers()
    for spec in models:
        found[spec.name] = _remote(spec)
    return found


def _rails(settings: Settings, name: str) -> Rails:
    source = read(settings.path_of(name))
    return build(loads(source.text, source.name), source.text, source.name)


def _known(settings: Settings) -> Known:
    if not settings.examples:
        return Known.at("")
    return Known.at(Path(settings.source).parent / settings.examples)


def _remote(spec: ModelSpec) -> Callable[[], Backend]:
    def make() -> Backend:
        require(f"model {spec.name!r}", "httpx")
        from balustrade.backends.openai import OpenAI, Server  # noqa: PLC0415 - an extra, too

        server = Server(spec.url, model=spec.model, key_env=spec.api_key_env, timeout=spec.timeout)
        return OpenAI(server)

    return make

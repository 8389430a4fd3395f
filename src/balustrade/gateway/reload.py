"""Take changed settings and policies into force, all of them or none."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from hashlib import sha256
from typing import Literal

from balustrade.core.errors import BalustradeError
from balustrade.gateway.auth import Keys
from balustrade.gateway.settings import Settings, load
from balustrade.gateway.state import State, files, load_policies
from balustrade.gateway.upstream import Upstreams

LOGGER = logging.getLogger("balustrade.reload")

Result = Literal["success", "failure", "unchanged"]

_FIXED = ("host", "port", "workers", "limits", "audit", "telemetry", "models", "console", "log")
"""Settings that a running server cannot change."""


class Reloader:
    """Watch the files a state came from, and change the state when they do.

    Looks at content, not at names or times alone: a ConfigMap swaps a symbolic link, an editor
    renames a file, `touch` changes nothing.

    Args:
        state: What to change; a request keeps the rails it began with.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._stamps = self._look()
        self._digest = self._read()
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        is_main = threading.current_thread() is threading.main_thread()
        self._hears_signals = is_main and hasattr(signal, "SIGHUP")
        self.error = ""
        """Why the files as they are now cannot be taken; empty while they are in force."""

    def start(self) -> None:
        """Listen for SIGHUP, and look at the files now and then if the settings ask for it."""
        loop = asyncio.get_running_loop()
        if self._hears_signals:
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)
        if self._state.settings.reload > 0:
            self._task = loop.create_task(self._watch(self._state.settings.reload))

    def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
        if self._hears_signals:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    async def reload(self) -> Result:
        """Read everything again; take it into force if it differs and nothing is wrong with it."""
        async with self._busy:
            result = await self._reload()
        self._state.metrics.reloads.add((result,))
        return result

    async def _reload(self) -> Result:
        state = self._state
        stamps, digest = self._look(), self._read()
        try:
            # Guards compile patterns and models are read: not on the loop that serves.
            settings = await asyncio.to_thread(self._settings)
            policies = await asyncio.to_thread(load_policies, settings)
            keys = Keys(settings.keys)
            if settings.upstreams == state.settings.upstreams:
                upstreams = state.upstreams
            else:
                upstreams = Upstreams(settings.upstreams, state.metrics)
        except BalustradeError as error:
            self.error = str(error)
            self._stamps, self._digest = stamps, digest
            LOGGER.error("not reloaded, what was in force stays: %s", error)
            return "failure"
        self.error = ""
        is_same = (
            settings == state.settings
            and policies.default.revision == state.policies.default.revision
            and {n: r.revision for n, r in policies.named.items()}
            == {n: r.revision for n, r in state.policies.named.items()}
        )
        self._stamps, self._digest = self._look(settings), digest
        if is_same:
            LOGGER.info("reloaded: nothing has changed")
            return "unchanged"
        self._warn(state.settings, settings)
        old = state.upstreams
        state.settings, state.policies, state.keys = settings, policies, keys
        state.upstreams = upstreams
        if old is not upstreams:
            await old.close()
        await state.warm()
        revisions = ", ".join(f"{n} {r.revision}" for n, r in policies.all.items())
        LOGGER.info("reloaded: in force are %s", revisions)
        return "success"

    def _settings(self) -> Settings:
        if not self._state.settings.source:
            return self._state.settings
        return load(self._state.settings.source)

    async def _watch(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                stamps = self._look()
                if stamps == self._stamps:
                    continue
                self._stamps = stamps
                if self._read() != self._digest:
                    await self.reload()
            except Exception:
                # A look that fails must not end the looking.
                LOGGER.exception("the files could not be looked at")

    def _on_signal(self) -> None:
        task = asyncio.ensure_future(self.reload())
        task.add_done_callback(lambda done: done.exception())

    def _paths(self, settings: Settings | None = None) -> list[str]:
        settings = settings or self._state.settings
        return [path for path in (settings.source, *files(settings)) if path]

    def _look(self, settings: Settings | None = None) -> dict[str, tuple[int, ...]]:
        """Return what the file system says of each file, symbolic links followed."""
        stamps: dict[str, tuple[int, ...]] = {}
        for path in self._paths(settings):
            try:
                status = os.stat(path)
                stamps[path] = (status.st_mtime_ns, status.st_ino, status.st_size)
            except OSError:
                stamps[path] = ()
        return stamps

    def _read(self) -> str:
        """Return the digest of all files' contents."""
        whole = sha256()
        for path in self._paths():
            try:
                with open(path, "rb") as file:
                    whole.update(sha256(file.read()).digest())
            except OSError:
                whole.update(b"-")
        return whole.hexdigest()

    @staticmethod
    def _warn(old: Settings, new: Settings) -> None:
        fields = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if fields:
            LOGGER.warning("changed, but taken only by a restart: %s", ", ".join(fields))

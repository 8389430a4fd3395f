"""Which handler answers which method and path; handlers are imported when the server starts."""

from __future__ import annotations

from typing import cast

from balustrade.core.registry import load
from balustrade.gateway.http import Handler, HttpError, Request

_HERE = "balustrade.gateway."

ROUTES = {
    ("POST", "/v1/chat/completions"): "chat:chat",
    ("POST", "/v1/completions"): "completions:complete",
    ("POST", "/v1/responses"): "responses:responses",
    ("POST", "/v1/embeddings"): "embeddings:embed",
    ("POST", "/v1/moderations"): "moderations:moderate",
    ("POST", "/v1/guard/check"): "check:check",
    ("GET", "/v1/models"): "admin:models",
    ("GET", "/v1/models/{id}"): "admin:model",
    ("GET", "/v1/decisions"): "admin:decisions",
    ("GET", "/v1/decisions/{id}"): "admin:decision",
    ("GET", "/v1/policy"): "admin:policy",
    ("GET", "/healthz"): "admin:health",
    ("GET", "/readyz"): "admin:ready",
    ("GET", "/metrics"): "admin:metrics",
    ("GET", "/openapi.json"): "openapi:document",
    ("GET", "/docs"): "openapi:docs",
}
"""Method and path to 'module:function' of this package; '{name}' stands for one segment, at the
end of a path it may hold slashes."""

CONSOLE = {
    ("GET", "/"): "ui.routes:playground",
    ("POST", "/console/check"): "ui.routes:check",
    ("GET", "/console/watch"): "ui.watch:form",
    ("POST", "/console/watch"): "ui.watch:watch",
    ("GET", "/console/watch/next"): "ui.watch:following",
    ("GET", "/console/decisions"): "ui.routes:decisions",
    ("GET", "/console/decisions/rows"): "ui.routes:rows",
    ("GET", "/console/decisions/{id}"): "ui.routes:decision",
    ("GET", "/console/policy"): "ui.routes:policy",
    ("GET", "/console/{asset}"): "ui.routes:asset",
}
"""The same for the console."""

OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/console/{asset}"})
"""Patterns that need no key: they tell nothing of what was asked or decided."""


class Router:
    """Find handlers; a table for whole paths, then patterns in the order of their length.

    Args:
        console: Whether the console is served.
    """

    def __init__(self, *, console: bool = True) -> None:
        table = {**ROUTES, **(CONSOLE if console else {})}
        self._exact: dict[tuple[str, str], Handler] = {}
        self._patterns: list[tuple[str, str, str, str, Handler]] = []
        for (method, pattern), place in table.items():
            handler = cast("Handler", load(f"route {pattern!r}", _HERE + place))
            before, brace, name = pattern.partition("{")
            if brace:
                self._patterns.append((method, before, name.rstrip("}"), pattern, handler))
            else:
                self._exact[method, pattern] = handler
        self._patterns.sort(key=lambda row: -len(row[1]))
        self._paths = {path for _, path in self._exact}

    def find(self, request: Request) -> Handler:
        """Return the handler, and note the pattern and its parameters in the request.

        Raises:
            HttpError: 404, no such path; 405, not with this method.
        """
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler
        allowed = {known for known, exact in self._exact if exact == path}
        for known, before, name, pattern, found in self._patterns:
            if not path.startswith(before) or len(path) == len(before) or path in self._paths:
                continue
            if known == method:
                request.route = pattern
                request.params[name] = path[len(before) :]
                return found
            allowed.add(known)
        # An unknown path must not become a label of its own in metrics.
        request.route = path if path in self._paths else "unknown"
        if allowed:
            names = ", ".join(sorted(allowed))
            raise HttpError(
                405,
                f"{request.method} is not served here; expected {names}",
                code="method_not_allowed",
                headers=((b"allow", names.encode()),),
            )
        raise HttpError(404, f"there is nothing at {path!r}", code="not_found")

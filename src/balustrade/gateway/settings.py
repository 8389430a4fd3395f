"""The server's settings: one TOML file, and environment variables that win over it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from balustrade.core.errors import PolicyError
from balustrade.core.spec import Count, Positive, Spec
from balustrade.gateway.auth import Key
from balustrade.policy.load import complaint

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Megabytes = Annotated[float, Meta(gt=0, le=1024)]


class Timeouts(Spec, frozen=True):
    """Seconds that each phase of a call to an upstream may take."""

    connect: Positive = 5.0
    read: Positive = 60.0
    """Between any two pieces of an answer, and until its first."""

    total: Positive = 600.0


class Retries(Spec, frozen=True):
    """How often a call is tried again where nothing can have happened twice."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """In all; 1 never tries again."""

    wait: Positive = 0.1
    """Seconds before the second attempt; doubled each time, with jitter."""

    longest: Positive = 5.0
    """Seconds an upstream's Retry-After may ask for; if it asks for more, its answer is passed
    on."""


class Breaker(Spec, frozen=True):
    """When an upstream that fails is left alone for a while."""

    failures: Count = 5
    """One after the other, until it opens."""

    rest: Positive = 10.0
    """Seconds before one request may try whether it is back."""


class UpstreamSpec(Spec, frozen=True):
    """A server that speaks OpenAI's API."""

    name: Name
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/]")]
    """Up to and with its version, such as `https://host/v1`."""

    api_key_env: str = ""
    """The environment variable that holds its key."""

    api_key: str = ""
    """Its key; prefer `api_key_env`, so that this file is no secret."""

    models: tuple[str, ...] = ()
    """Models it answers for, by their names there."""

    prefix: str = ""
    """Models that begin with this go there, without it: 'local/' sends 'local/m' as 'm'."""

    default: bool = False
    """Whether it is asked for models nobody else answers for."""

    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    breaker: Breaker = Breaker()
    connections: Count = 256
    """Open at once at most; more requests wait for `timeouts.connect`."""

    max_answer_mb: Megabytes = 64
    verify_tls: bool = True
    ca_file: str = ""

    @property
    def secret(self) -> str:
        """Its key, from wherever it is kept."""
        return os.environ.get(self.api_key_env, "") if self.api_key_env else self.api_key


class ModelSpec(Spec, frozen=True):
    """A model that guards may ask, beside the shipped one."""

    name: Name
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/]")]
    model: str = ""
    """Its name there; `name` if empty."""

    api_key_env: str = ""
    timeout: Positive = 30.0


class Limits(Spec, frozen=True):
    """Bounds on what a client may send."""

    body_mb: Megabytes = 10
    header_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 65_536
    url_bytes: Annotated[int, Meta(ge=256, le=1_048_576)] = 8_192
    header_seconds: Positive = 10.0
    """How long a request's head may take to arrive, also on a connection that says nothing."""

    body_seconds: Positive = 60.0
    """How long a body may take to arrive."""

    connections: Count = 2_000
    keep_alive: Positive = 75.0


class AuditSpec(Spec, frozen=True):
    """Where decisions are kept; what and how surely is each policy's own `[audit]`."""

    path: str = "balustrade.db"
    queue: Count = 10_000
    wait: Positive = 5.0
    """Seconds to wait for another process that holds the file."""


class Telemetry(Spec, frozen=True):
    """OpenTelemetry traces; nothing is sent unless an endpoint is named."""

    endpoint: str = ""
    """OTLP over HTTP, such as `http://collector:4318/v1/traces`."""

    service: str = "balustrade"
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Settings(Spec, frozen=True):
    """Everything `balustrade serve` can be told."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    open: bool = False
    """Whether to serve beyond this machine although no keys are configured."""

    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    drain: Positive = 30.0
    """Seconds that running requests and streams may take to end after SIGTERM."""

    policy: str = "chat"
    """The default policy: a name under `policies`, a file, or a preset."""

    policies: dict[Name, str] = msgspec.field(default_factory=dict)
    """Names to files or presets."""

    reload: Annotated[float, Meta(ge=0)] = 1.0
    """Seconds between looks at the files; 0 leaves SIGHUP alone."""

    console: bool = True
    examples: str = ""
    """A JSONL file of known examples that explanations name, counted from the settings' folder; our
    own if empty."""

    log: Literal["text", "json"] = "text"
    upstreams: tuple[UpstreamSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()
    keys: tuple[Key, ...] = ()
    limits: Limits = Limits()
    audit: AuditSpec = AuditSpec()
    telemetry: Telemetry = Telemetry()
    source: str = ""
    """The file these come from; paths in it count from its folder."""

    def path_of(self, name: str) -> str:
        """Return a path as written in the file, counted from the file's folder."""
        if self.source and ("/" in name or name.endswith(".toml")):
            return str(Path(self.source).parent / name)
        return name


PREFIX = "BALUSTRADE_"
"""BALUSTRADE_PORT=9000 sets `port`, BALUSTRADE_AUDIT__PATH sets `audit.path`."""


def load(path: str = "", environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings, and check what fields alone cannot say.

    Args:
        path: The file; defaults alone if empty.
        environ: The environment.

    Raises:
        PolicyError: The file cannot be read, or says what cannot be; with line and key.
    """
    text = _read(path) if path else ""
    name = Path(path).name if path else "environment"
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: not TOML: {error}") from error
    tree.pop("source", None)
    _overlay(tree, environ)
    try:
        settings = msgspec.convert({**tree, "source": path}, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise complaint(error, text, name) from error
    _check(settings, name)
    return settings


def require_safe(settings: Settings) -> None:
    """Refuse to listen beyond this machine without keys, unless told to.

    Raises:
        PolicyError: The address can be reached from outside and nobody has to show a key.
    """
    if settings.keys or settings.open or _is_loopback(settings.host):
        return
    raise PolicyError(
        f"host {settings.host!r} can be reached from outside, but no keys are configured; "
        "add [[keys]], listen on 127.0.0.1, or set open = true to serve everyone"
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not UTF-8 at byte {error.start}") from error


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Set what the environment names; unknown names under our prefix are left to the check."""
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS:
            continue
        *tables, last = variable.removeprefix(PREFIX).lower().split("__")
        place = tree
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise PolicyError(f"environment: {variable} does not name a setting")
        place[last] = value
    url = environ.get("BALUSTRADE_UPSTREAM", "")
    if url:
        key = "BALUSTRADE_UPSTREAM_KEY"
        only = {"name": "default", "url": url, "default": True, "api_key_env": key}
        tree["upstreams"] = [only, *tree.get("upstreams", [])]
    models = _models(environ)
    if models:
        tree["models"] = [*tree.get("models", []), *models]


def _models(environ: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the models that the environment names, as `balustrade check` takes them too."""
    found = []
    for pair in environ.get(MODELS, "").split():
        name, _, url = pair.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise PolicyError(f"environment: {MODELS} expects NAME=URL, found {pair!r}")
        key = MODEL_KEY if environ.get(MODEL_KEY) else ""
        found.append({"name": name, "url": url, "api_key_env": key})
    return found


MODELS = "BALUSTRADE_MODELS"
"""Models that guards may ask beside those of the file: `NAME=URL NAME=URL ...`."""

MODEL_KEY = "BALUSTRADE_API_KEY"
"""The key that is sent to them."""

_NOT_SETTINGS = {
    MODELS,
    MODEL_KEY,
    "BALUSTRADE_UPSTREAM",
    "BALUSTRADE_UPSTREAM_KEY",
    "BALUSTRADE_TRACEBACK",
    "BALUSTRADE_CONFIG",
    "BALUSTRADE_DEVICE",
}


def _check(settings: Settings, name: str) -> None:
    names = [upstream.name for upstream in settings.upstreams]
    for twin in names:
        if names.count(twin) > 1:
            raise PolicyError(f"{name}: {names.count(twin)} upstreams are named {twin!r}")
    if sum(upstream.default for upstream in settings.upstreams) > 1:
        raise PolicyError(f"{name}: more than one upstream is the default")
    for number, upstream in enumerate(settings.upstreams):
        parts = urlsplit(upstream.url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise PolicyError(
                f"{name}: upstreams[{number}].url may hold host, port and path alone; "
                "keys belong into api_key_env"
            )
    for key in settings.keys:
        if key.policy and key.policy not in settings.policies:
            known = ", ".join(map(repr, settings.policies)) or "none"
            raise PolicyError(
                f"{name}: key {key.name!r} names policy {key.policy!r}; known policies: {known}"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""Who asks: keys kept as digests, found by a prefix, compared in constant time."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

from balustrade.core.errors import PolicyError
from balustrade.core.spec import Count, Spec
from balustrade.gateway.http import HttpError, Request

PREFIX_LENGTH = 12
"""Characters of a key that are kept in the clear to find it by."""

_MARK = "bal-"


class Key(Spec, frozen=True):
    """A caller's key as the settings hold it, and what it may do."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    """Stands in logs, metrics and records."""

    hash: Annotated[str, Meta(pattern=r"^[^:]{12}:[0-9a-f]{64}$")]
    """`PREFIX:SHA256` as `balustrade serve --new-key` prints it; never the key itself."""

    tenant: str = ""
    policy: str = ""
    """The name of its policy; the default policy if empty."""

    models: tuple[str, ...] = ()
    """Models it may ask for; `*` at the end stands for any rest; all if empty."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    admin: bool = False
    """Whether it may read decisions of other tenants."""

    def allows(self, model: str) -> bool:
        """Whether it may ask for a model."""
        return not self.models or any(_matches(pattern, model) for pattern in self.models)


def sees(key: Key | None, tenant: str, name: str) -> bool:
    """Whether a key may see what belongs to a tenant's key of that name.

    An administrator's sees all, others what is their tenant's, or their own where they have none.
    """
    if key is None or key.admin:
        return True
    return key.tenant == tenant if key.tenant else key.name == name


class Keys:
    """All keys in force; with none, everyone may do everything."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_prefix: dict[str, list[tuple[str, Key]]] = {}
        names: set[str] = set()
        for key in keys:
            if key.name in names:
                raise PolicyError(f"two keys are named {key.name!r}; give each its own name")
            names.add(key.name)
            prefix, _, digest = key.hash.partition(":")
            self._by_prefix.setdefault(prefix, []).append((digest, key))

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def of(self, request: Request) -> Key | None:
        """Return the key a request carries, or None where no keys are configured.

        Raises:
            HttpError: 401, it carries none or a wrong one.
        """
        if not self._by_prefix:
            return None
        secret = _secret(request)
        if not secret:
            raise _refused("no API key was given; send it as 'Authorization: Bearer KEY'", request)
        found = self._find(secret)
        if found is None:
            raise _refused("the API key is not known here", request)
        return found

    def _find(self, secret: str) -> Key | None:
        digest = sha256(secret.encode("utf-8", "replace")).hexdigest()
        match: Key | None = None
        for known, key in self._by_prefix.get(secret[:PREFIX_LENGTH], ()):
            if hmac.compare_digest(known, digest):
                match = key
        return match


def new_key() -> tuple[str, str]:
    """Return a new key of 256 random bits, and the hash that goes into the settings."""
    secret = _MARK + secrets.token_urlsafe(32)
    return secret, hashed(secret)


def hashed(secret: str) -> str:
    """Return what the settings keep of a key."""
    if len(secret) < 2 * PREFIX_LENGTH or ":" in secret[:PREFIX_LENGTH]:
        raise PolicyError(
            f"a key needs at least {2 * PREFIX_LENGTH} characters and no ':' in the first "
            f"{PREFIX_LENGTH}; take one from 'balustrade serve --new-key'"
        )
    return f"{secret[:PREFIX_LENGTH]}:{sha256(secret.encode()).hexdigest()}"


def _secret(request: Request) -> str:
    """Return the key a request carries.

    A browser sends it as the password of any user, and sends it again with every request, whoever
    wrote the page that made it: so pages take it, endpoints do not.
    """
    scheme, _, value = request.header(b"authorization").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic" and _is_page(request):
        try:
            return b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return request.header(b"x-api-key")


def _is_page(request: Request) -> bool:
    return request.path == "/" or request.path.startswith("/console/")


def _matches(pattern: str, model: str) -> bool:
    if pattern.endswith("*"):
        return model.startswith(pattern[:-1])
    return pattern == model


def _refused(message: str, request: Request) -> HttpError:
    realm = b'Basic realm="balustrade: the key is the password"'
    headers = ((b"www-authenticate", realm if _is_page(request) else b"Bearer"),)
    return HttpError(401, message, "authentication_error", "invalid_api_key", headers=headers)

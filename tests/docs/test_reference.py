"""The reference of the gateway leaves nothing out, and says of defaults what they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from balustrade.gateway.auth import Key
from balustrade.gateway.routes import ROUTES
from balustrade.gateway.settings import ModelSpec, Settings, UpstreamSpec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/http.md").read_text()
SHOWN: dict[str, Any] = tomllib.loads(PAGE.split('```toml title="all.toml"\n')[1].split("```")[0])
EXAMPLES = {"url", "hash", "name", "policies", "api_key_env", "tokens_per_minute"}
LISTS: dict[str, type[msgspec.Struct]] = {
    "upstreams": UpstreamSpec,
    "models": ModelSpec,
    "keys": Key,
}


def defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of settings that have a default, with it, tables in tables."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        is_needed = default is msgspec.NODEFAULT
        found[field.name] = None if is_needed else msgspec.json.decode(msgspec.json.encode(default))
    return found


def shown_is_default(shown: dict[str, Any], default: dict[str, Any]) -> None:
    assert shown.keys() == default.keys()
    for name, value in shown.items():
        if isinstance(value, dict) and default[name]:
            shown_is_default(value, default[name])
        elif name not in EXAMPLES | {"requests_per_minute"}:
            assert value == default[name], name


def test_every_setting_is_shown_with_its_default() -> None:
    plain = {name: value for name, value in SHOWN.items() if name not in LISTS}
    known = {n: v for n, v in defaults(Settings).items() if n not in LISTS and n != "source"}
    shown_is_default(plain, known)


@pytest.mark.parametrize("name", LISTS)
def test_every_setting_of_a_list_is_shown_with_its_default(name: str) -> None:
    [entry] = SHOWN[name]
    shown_is_default(entry, defaults(LISTS[name]))


def test_what_is_shown_can_be_read() -> None:
    settings = msgspec.convert(SHOWN, Settings)
    assert settings.upstreams[0].retries.attempts == 3


@pytest.mark.parametrize("path", sorted({path for _, path in ROUTES}))
def test_every_endpoint_is_listed(path: str) -> None:
    methods = [method for method, known in ROUTES if known == path]
    assert all(f"`{method} {path}`" in PAGE for method in methods)


def test_every_code_of_an_error_is_explained() -> None:
    page = (ROOT / "docs/errors/http.md").read_text()
    codes: set[str] = set()
    for source in (ROOT / "src/balustrade/gateway").glob("*.py"):
        for call in re.findall(r"HttpError\(([^()]*(?:\([^()]*\)[^()]*)*)\)", source.read_text()):
            codes |= set(re.findall(r'code="(\w+)"', call))
            codes |= set(re.findall(r'"\w+_error",\s+"(\w+)"', call))
    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in page} == set()

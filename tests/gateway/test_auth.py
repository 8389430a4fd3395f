"""Keys at rest, and how they are found."""

from __future__ import annotations

import msgspec
import pytest

from balustrade.core.errors import PolicyError
from balustrade.gateway.auth import Key, Keys, hashed, new_key
from balustrade.gateway.http import HttpError, Request


def request(secret: str) -> Request:
    return Request("POST", "/v1/x", [(b"authorization", f"Bearer {secret}".encode())])


def test_a_key_is_found_by_itself_alone() -> None:
    secret, digest = new_key()
    other, _ = new_key()
    keys = Keys([Key("ann", digest)])
    found = keys.of(request(secret))
    assert found is not None
    assert found.name == "ann"
    for wrong in (other, secret[:-1], secret + "x", secret[:12], ""):
        with pytest.raises(HttpError) as raised:
            keys.of(request(wrong))
        assert raised.value.status == 401


def test_keys_that_begin_alike_are_told_apart() -> None:
    start = "bal-samestart"
    keys = Keys([Key(name, hashed(start + name * 12)) for name in ("ann", "bob")])
    found = keys.of(request(start + "bob" * 12))
    assert found is not None
    assert found.name == "bob"


def test_settings_hold_no_key() -> None:
    secret, digest = new_key()
    assert secret not in digest
    assert digest.startswith(secret[:12] + ":")
    assert len(secret) >= 40


def test_two_keys_of_one_name_are_an_error() -> None:
    with pytest.raises(PolicyError, match="two keys are named 'a'"):
        Keys([Key("a", new_key()[1]), Key("a", new_key()[1])])


def test_a_key_too_short_to_be_safe_is_not_hashed() -> None:
    with pytest.raises(PolicyError, match="at least 24 characters"):
        hashed("password")


def test_without_keys_nobody_is_asked() -> None:
    assert Keys().of(request("")) is None


def test_models_may_be_named_by_their_beginning() -> None:
    key = Key("a", "x" * 12 + ":" + "0" * 64, models=("gpt-*", "m"))
    assert [key.allows(m) for m in ("gpt-4", "m", "mm", "other")] == [True, True, False, False]


def test_a_hash_of_another_form_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "a", "hash": "0" * 64}, Key)

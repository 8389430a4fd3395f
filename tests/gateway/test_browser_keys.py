"""A browser's remembered password opens the console and nothing else."""

from __future__ import annotations

from base64 import b64encode

import pytest

from balustrade.gateway.auth import Key, Keys, new_key
from balustrade.gateway.http import HttpError, Request

SECRET, HASH = new_key()
KEYS = Keys([Key("console", HASH)])
PASSWORD = b"Basic " + b64encode(f"anyone:{SECRET}".encode())


@pytest.mark.parametrize("path", ["/", "/console/check", "/console/decisions"])
def test_the_console_takes_the_key_as_a_password(path: str) -> None:
    found = KEYS.of(Request("GET", path, [(b"authorization", PASSWORD)]))
    assert found is not None
    assert found.name == "console"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/moderations", "/consolex"])
def test_the_api_does_not(path: str) -> None:
    with pytest.raises(HttpError) as caught:
        KEYS.of(Request("POST", path, [(b"authorization", PASSWORD)]))
    assert caught.value.status == 401
    assert caught.value.headers == ((b"www-authenticate", b"Bearer"),)


def test_a_browser_without_a_key_is_asked_for_one() -> None:
    with pytest.raises(HttpError) as caught:
        KEYS.of(Request("GET", "/"))
    assert caught.value.headers[0][1].startswith(b"Basic ")


@pytest.mark.parametrize("value", [b"Basic", b"Basic !!", b"Basic " + b64encode(b"\xff\xfe")])
def test_a_password_that_cannot_be_read_is_no_key(value: bytes) -> None:
    with pytest.raises(HttpError):
        KEYS.of(Request("GET", "/", [(b"authorization", value)]))

"""Settings: one file and the environment, with errors that name the place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import PolicyError
from balustrade.gateway.settings import Settings, UpstreamSpec, load, require_safe

FULL = """
port = 9000
policy = "house"
policies = {house = "house.toml"}

[[upstreams]]
name = "one"
url = "https://models.example/v1"
models = ["m"]
timeouts.read = 5

[audit]
path = "here.db"
"""


def written(folder: Path, text: str) -> str:
    path = folder / "settings.toml"
    path.write_text(text)
    return str(path)


def test_without_anything_it_listens_on_this_machine_alone() -> None:
    settings = load("", {})
    assert (settings.host, settings.port, settings.policy) == ("127.0.0.1", 8080, "chat")
    assert settings.audit.path == "balustrade.db"
    require_safe(settings)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FULL), {})
    assert settings.port == 9000
    assert settings.upstreams[0].timeouts.read == 5
    assert settings.audit.path == "here.db"
    assert settings.path_of("house.toml") == str(tmp_path / "house.toml")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"BALUSTRADE_PORT": "7000", "BALUSTRADE_AUDIT__PATH": "there.db", "HOME": "/x"}
    settings = load(written(tmp_path, FULL), environ)
    assert (settings.port, settings.audit.path) == (7000, "there.db")


def test_one_variable_is_enough_for_an_upstream() -> None:
    environ = {"BALUSTRADE_UPSTREAM": "http://127.0.0.1:9000/v1"}
    [upstream] = load("", environ).upstreams
    assert (upstream.name, upstream.url, upstream.default) == (
        "default",
        "http://127.0.0.1:9000/v1",
        True,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "settings.toml:1: unknown key 'prot', at prot"),
        ("\nport = 70000", "settings.toml:2: expected `int` <= 65535, at port"),
        ('[[upstreams]]\nname = "a"\nurl = "ftp://x"', "settings.toml:3: expected `str` matching"),
        ("[limits]\nbody_mb = 0", "settings.toml:2: expected `float` > 0.0, at limits.body_mb"),
        ("a = ", "settings.toml: not TOML"),
        (
            '[[upstreams]]\nname = "a"\nurl = "http://user:pass@x/v1"',
            "upstreams[0].url may hold host, port and path alone",
        ),
        (
            '[[upstreams]]\nname = "a"\nurl = "http://x"\n[[upstreams]]\nname = "a"\nurl = "http://x"',
            "2 upstreams are named 'a'",
        ),
        (
            '[[keys]]\nname = "a"\npolicy = "p"\nhash = "' + "x" * 12 + ":" + "0" * 64 + '"',
            "key 'a' names policy 'p'; known policies: none",
        ),
        ('[[keys]]\nname = "a"\nhash = "plain"', "settings.toml:3: expected `str` matching regex"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        load(written(tmp_path, text), {})
    assert message in str(raised.value)


def test_a_variable_that_sets_nothing_is_an_error() -> None:
    with pytest.raises(PolicyError, match="unknown key 'prot'"):
        load("", {"BALUSTRADE_PROT": "1"})
    with pytest.raises(PolicyError, match="does not name a setting"):
        load("", {"BALUSTRADE_PORT": "1", "BALUSTRADE_PORT__X": "1"})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: cannot be read"):
        load("nowhere.toml", {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_this_machine_somebody_must_show_a_key(host: str) -> None:
    with pytest.raises(PolicyError, match="no keys are configured"):
        require_safe(Settings(host=host))
    require_safe(Settings(host=host, open=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_is_safe(host: str) -> None:
    require_safe(Settings(host=host))


@given(st.text(), st.text(max_size=8))
def test_a_secret_of_the_environment_is_not_in_the_settings(secret: str, name: str) -> None:
    spec = UpstreamSpec("a", "http://x/v1", api_key_env=f"NOT_SET_{len(name)}")
    assert spec.secret == ""
    assert msgspec.json.decode(msgspec.json.encode(spec))["api_key"] == ""
    assert UpstreamSpec("a", "http://x/v1", api_key=secret).secret == secret

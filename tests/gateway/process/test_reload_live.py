"""Policies and settings change while requests come in (R24)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STRICTER = """
name = "words"

[[stage.input.guards]]
use = "keywords"
words = ["forbidden", "also"]
category = "word"

[[stage.input.rules]]
name = "no-forbidden"
category = "word"
"""


def flagged(gateway: Any, text: str) -> bool:
    answer = gateway.post("/v1/moderations", {"input": text})
    return bool(answer.json()["results"][0]["flagged"])


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def counted(gateway: Any, result: str) -> int:
    mark = f'balustrade_reloads_total{{result="{result}"}} '
    lines = [line for line in gateway.get("/metrics").text.splitlines() if line.startswith(mark)]
    return int(lines[0].removeprefix(mark)) if lines else 0


def revision(gateway: Any) -> str:
    return str(gateway.get("/v1/policy").json()["revision"])


def test_r24_a_changed_policy_is_taken_and_named(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0.1")
    before = revision(gateway)
    assert not flagged(gateway, "also this")
    (gateway.folder / "policy.toml").write_text(STRICTER)
    until(lambda: flagged(gateway, "also this"))
    answer = gateway.post("/v1/moderations", {"input": "also this"})
    record = gateway.get(f"/v1/decisions/{answer.headers['x-balustrade-decision']}").json()
    assert record["revision"] == revision(gateway) != before
    assert counted(gateway, "success") == 1


def test_r24_a_wrong_policy_leaves_the_old_in_force_and_is_told(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0.1")
    before = revision(gateway)
    (gateway.folder / "policy.toml").write_text('name = "words"\ntreshold = 3\n')
    until(lambda: counted(gateway, "failure") == 1)
    assert revision(gateway) == before
    assert flagged(gateway, "forbidden")
    ready = gateway.get("/readyz")
    assert ready.status_code == 200
    assert "policy.toml:2: unknown key 'treshold'" in ready.json()["reload"]


def test_r24_sighup_reloads_where_nothing_is_watched(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0")
    (gateway.folder / "policy.toml").write_text(STRICTER)
    gateway.signal(signal.SIGHUP)
    until(lambda: counted(gateway, "success") == 1)
    assert flagged(gateway, "also this")
    gateway.signal(signal.SIGHUP)
    until(lambda: counted(gateway, "unchanged") == 1)


def test_r24_a_symbolic_link_that_is_swapped_is_a_change(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0.1")
    policy = gateway.folder / "policy.toml"
    old, new = gateway.folder / "..old", gateway.folder / "..new"
    for folder, text in ((old, policy.read_text()), (new, STRICTER)):
        folder.mkdir()
        (folder / "policy.toml").write_text(text)
    swap(gateway.folder / "..data", old)
    policy.unlink()
    policy.symlink_to("..data/policy.toml")
    time.sleep(0.3)
    assert not flagged(gateway, "also this")
    swap(gateway.folder / "..data", new)
    until(lambda: flagged(gateway, "also this"))


def test_r24_a_file_that_is_only_touched_is_no_change(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0.1")
    os.utime(gateway.folder / "policy.toml")
    time.sleep(0.5)
    assert counted(gateway, "success") + counted(gateway, "failure") == 0


def test_r24_requests_are_answered_while_policies_change(serve: Callable[..., Any]) -> None:
    gateway = serve("reload = 0.1")
    texts = [(gateway.folder / "policy.toml").read_text(), STRICTER]
    statuses = set()
    for turn in range(60):
        if turn % 10 == 0:
            (gateway.folder / "policy.toml").write_text(texts[turn // 10 % 2])
        statuses.add(gateway.chat("words-3").status_code)
    assert statuses == {200}


def test_a_new_key_and_upstream_are_taken_without_a_restart(
    serve: Callable[..., Any], scripted: Any
) -> None:
    gateway = serve("reload = 0.1")
    settings = gateway.folder / "settings.toml"
    text = settings.read_text()
    settings.write_text(
        text + f'[[upstreams]]\nname = "two"\nurl = "{scripted.url}/v1"\nprefix = "two/"\n'
    )
    until(lambda: "two" in gateway.get("/readyz").json()["upstreams"])
    assert gateway.chat("two/words-3").status_code == 200
    assert scripted.get("/seen").json()["words-3"]["body"]["model"] == "words-3"


def swap(link: Path, target: Path) -> None:
    fresh = link.with_name("..fresh")
    fresh.symlink_to(target.name)
    fresh.rename(link)

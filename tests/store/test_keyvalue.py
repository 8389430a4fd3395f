from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from balustrade.core.errors import StoreError
from balustrade.store.keyvalue import SqliteKeyValue
from balustrade.store.log import KeyValue
from balustrade.store.sqlite import SqliteLog

keys = st.text(st.sampled_from("ab%_\0é😀"), max_size=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyValue]:
    with closing(SqliteKeyValue(tmp_path / "values.db")) as store:
        yield store


def machine(path: Path) -> type[RuleBasedStateMachine]:  # noqa: C901  one short rule each
    """Return a machine that does to a store and to a dict the same."""

    class Alike(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = SqliteKeyValue(path)
            for pair in self.store.items():
                self.store.remove(pair[0])
            self.known: dict[str, bytes] = {}

        @rule(key=keys, value=st.binary(max_size=3))
        def put(self, key: str, value: bytes) -> None:
            self.store.put(key, value)
            self.known[key] = value

        @rule(key=keys)
        def remove(self, key: str) -> None:
            assert self.store.remove(key) == (self.known.pop(key, None) is not None)

        @rule()
        def open_again(self) -> None:
            self.store.close()
            self.store = SqliteKeyValue(path)

        @rule(prefix=keys)
        def list_by_prefix(self, prefix: str) -> None:
            found = [pair for pair in self.known.items() if pair[0].startswith(prefix)]
            assert self.store.items(prefix) == sorted(found)

        @invariant()
        def every_value_is_there(self) -> None:
            assert all(self.store.get(key) == value for key, value in self.known.items())

        def teardown(self) -> None:
            self.store.close()

    return Alike


def test_a_store_behaves_as_a_dict_does(tmp_path: Path) -> None:
    run_state_machine_as_test(
        machine(tmp_path / "values.db"),
        settings=settings(max_examples=20, stateful_step_count=20, deadline=None),
    )


def test_a_value_that_was_never_put_is_none(store: KeyValue) -> None:
    assert store.get("absent") is None


def test_a_closed_store_refuses_by_name(store: KeyValue) -> None:
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.put("a", b"")


def test_a_log_is_not_taken_for_a_store_of_values(tmp_path: Path) -> None:
    SqliteLog(tmp_path / "log.db").close()
    with pytest.raises(StoreError, match="another program or version"):
        SqliteKeyValue(tmp_path / "log.db")


def test_a_prefix_may_hold_any_character(store: KeyValue) -> None:
    known = ["", "a", "a\0", "a\0b", "a%", "😀x"]
    for key in known[::-1]:
        store.put(key, b"")
    for prefix in ("a\0", "a\0b", "a%", "😀", "b", ""):
        found = [key for key, _ in store.items(prefix)]
        assert found == [key for key in known if key.startswith(prefix)]

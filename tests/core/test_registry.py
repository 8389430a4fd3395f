from __future__ import annotations

import pytest

from balustrade.core.errors import MissingExtraError, PolicyError, UnknownNameError
from balustrade.core.registry import require, resolve

TABLE = {"keywords": "collections:OrderedDict", "broken": "collections:Nothing"}


def test_a_name_resolves_to_its_object() -> None:
    assert resolve("guard", "keywords", TABLE) is __import__("collections").OrderedDict


def test_a_policy_may_name_its_own_object() -> None:
    assert resolve("guard", "json:loads", TABLE) is __import__("json").loads


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="no guard is named 'keyword'; did you mean 'keywords'"
    ):
        resolve("guard", "keyword", TABLE)


def test_a_missing_attribute_names_module_and_attribute() -> None:
    with pytest.raises(PolicyError, match="module 'collections' has no 'Nothing'"):
        resolve("guard", "broken", TABLE)


def test_a_missing_module_of_the_user_is_named() -> None:
    with pytest.raises(PolicyError, match="no module is named 'no_such_package'"):
        resolve("guard", "no_such_package.guards:Mine", TABLE)


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("guard 'x'", "psycopg")
    assert str(caught.value) == (
        "guard 'x' needs the module 'psycopg'; install it with: pip install 'balustrade[postgres]'"
    )

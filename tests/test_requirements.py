"""Every requirement this product took over from its peers' users has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WANTED = [*range(1, 8), *range(10, 20), *range(21, 25)]
_NAMED = re.compile(r"def test_((?:r\d+_)+)")


@pytest.fixture(scope="module")
def named() -> set[int]:
    found: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for names in _NAMED.findall(path.read_text("utf-8")):
            found |= {int(number[1:]) for number in names.strip("_").split("_")}
    return found


@pytest.mark.parametrize("number", WANTED)
def test_a_requirement_has_a_test_that_names_it(number: int, named: set[int]) -> None:
    assert number in named

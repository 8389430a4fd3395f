"""What the README says of this repository is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def pyproject() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    links = LINK.findall((ROOT / page).read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_map_names_every_package_and_no_other() -> None:
    rows = README.split("## Map")[1].split("A row imports")[0].splitlines()
    named = {name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}
    packages = {path.parent.name for path in (ROOT / "src/balustrade").glob("*/__init__.py")}
    assert named == packages


def test_every_extra_it_names_can_be_installed() -> None:
    extras = re.findall(r"^\| `balustrade\[(\w+)\]`", README, re.MULTILINE)
    assert len(extras) > 5
    assert set(extras) <= set(pyproject()["optional-dependencies"])


def test_the_bare_package_needs_what_it_says_and_no_more() -> None:
    [row] = re.findall(r"^\| `balustrade` \| ([^|]+) \|", README, re.MULTILINE)
    needed = [re.split(r"[<>=~ ]", each)[0] for each in pyproject()["dependencies"]]
    assert row.split(", ") == needed


def test_the_commands_of_make_that_it_names_exist() -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.stem
)
def test_no_page_names_a_place_on_one_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.-])/(?:home|work|root|Users|tmp)/", page.read_text())

"""What the documentation shows is what happens: its code blocks are run, its outputs compared.

Each page is run from top to bottom in a folder of its own:
- `python` blocks are executed, in one namespace a page, again from the first when more follow
  after a command;
- blocks with `title="NAME"` are written to the file of that name, not executed;
- `console` blocks: lines after `$ ` are commands, and those after a `\\` at a line's end; the lines
  below, if any, are their output, in which `...` stands for anything, and a line `...` for any
  number of lines;
- other languages (`shell`, `toml`, `text`) are only shown.

On a page that begins with `server: true`, `shell` blocks start the servers they name (`balustrade
serve`, `make serve`, `python examples/upstream.py`), each on a free port which takes the place of
the one that the page prints, and commands are run once the server answers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from balustrade.core import errors
from balustrade.core.errors import BalustradeError

if TYPE_CHECKING:
    from tests.docs.conftest import Servers

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')


class Block(NamedTuple):
    """One code block of a page."""

    language: str
    title: str
    body: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match[2])
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match[1], title[1] if title else "", match[3], line))
    return found


def runs(block: Block) -> bool:
    return bool(block.title) or block.language in {"python", "console"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs, blocks(page)))], ids=name)
def test_every_code_block_does_what_the_page_says(page: Path, servers: Servers) -> None:
    if is_served(page) and not shutil.which("curl"):
        pytest.skip("the page shows commands of curl, which is not installed")
    code = ""
    is_due = False
    for block in blocks(page):
        if block.language == "python" and not block.title:
            code += "\n" * (block.line - 1 - code.count("\n")) + block.body
            is_due = True
            continue
        if is_due and block.language in {"console", "shell"}:
            python(code, page, servers)
            is_due = False
        perform(block, page, servers)
    if is_due:
        python(code, page, servers)


def is_served(page: Path) -> bool:
    return page.read_text().startswith("---\nserver: true\n---\n")


def perform(block: Block, page: Path, servers: Servers) -> None:
    """Do what a block that is no Python says."""
    if block.title:
        (servers.folder / block.title).write_text(servers.here(block.body))
    elif block.language == "console":
        console(block, page, servers)
    elif block.language == "shell" and is_served(page):
        servers.start(block.body)


def python(code: str, page: Path, servers: Servers) -> None:
    """Execute the page's blocks so far; the lines are those of the page."""
    code = servers.here(code)
    source = f"exec(compile({code!r}, {name(page)!r}, 'exec'), {{'__name__': '__main__'}})"
    done = servers.run([sys.executable, "-W", "error", "-c", source])
    assert done.returncode == 0, done.stderr


def console(block: Block, page: Path, servers: Servers) -> None:
    """Run each command, and compare what it prints with what the page shows."""
    for command, expected in commands(block.body):
        done = servers.run(["bash", "-euo", "pipefail", "-c", servers.here(command)])
        place = f"{name(page)}:{block.line}: {command}"
        assert done.returncode == 0, f"{place}\n{done.stdout}\n{done.stderr}"
        found = servers.shown(done.stdout)
        if expected:
            assert matches(expected, found), f"{place}\n{found}\nis not\n{expected}"


def commands(body: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
            continue
        command, expected = found[-1]
        if command.endswith("\\"):
            found[-1] = (f"{command}\n{line}", expected)
        else:
            found[-1] = (command, f"{expected}{line}\n")
    return found


def matches(expected: str, found: str) -> bool:
    lines = [
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected.splitlines()
    ]
    ended = found if found.endswith("\n") else f"{found}\n"
    return re.fullmatch("".join(lines), ended) is not None


def test_a_wrong_output_is_noticed() -> None:
    assert matches("one ... three\n...\nend\n", "one two three\n\nx\nend\n")
    assert not matches("one\n", "two\n")
    assert not matches("one\n", "one\ntwo\n")


def family(error: type[BalustradeError]) -> list[type[BalustradeError]]:
    return [error, *(each for child in error.__subclasses__() for each in family(child))]


def test_every_error_code_has_a_page_that_is_titled_by_it() -> None:
    codes = {each.code for each in family(BalustradeError) if each.__module__ == errors.__name__}
    pages = {page.stem: page.read_text() for page in (ROOT / "docs" / "errors").glob("*.md")}
    assert codes <= set(pages)
    assert all(pages[code].startswith(f"# {code}\n") for code in codes)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=name)
def test_a_decision_is_short_and_says_what_would_change_our_mind(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 60
    for part in ("Context", "Decision", "Consequences", "What would change our mind"):
        assert f"\n## {part}\n" in text


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=name)
def test_an_example_says_what_it_shows_and_compiles(example: Path) -> None:
    source = example.read_text()
    assert source.startswith('"""')
    compile(source, example, "exec")


@pytest.mark.parametrize("example", ["check.py", "own_guard.py"])
def test_an_example_without_a_server_runs(example: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("example", ["chat.py", "regenerate.py", "route.py", "stop_early.py"])
def test_an_example_says_in_a_line_that_no_gateway_answers(example: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), "--url", "http://127.0.0.1:9/v1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "no gateway answers there; start one with: balustrade serve\n"


def test_the_example_of_an_early_stop_prints_what_left_and_why_it_ended(servers: Servers) -> None:
    page = ROOT / "docs" / "guides" / "streaming.md"
    [policy] = [block.body for block in blocks(page) if block.title == "early.toml"]
    (servers.folder / "early.toml").write_text(policy)
    servers.start("python examples/upstream.py --port 9000")
    servers.start(
        "BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve --policy early.toml"
    )
    url = servers.here("http://127.0.0.1:8080/v1")
    done = servers.run([sys.executable, str(ROOT / "examples" / "stop_early.py"), "--url", url])
    assert done.returncode == 0, done.stderr
    said, why = done.stdout.splitlines()
    assert said.startswith("the river runs past")
    # Which words the shipped monitor stops at is its weights' matter.
    assert why in {"(stop: allow)", "(content_filter: block early-stop)"}


def test_the_example_of_a_client_is_guarded_by_the_gateway(servers: Servers) -> None:
    servers.start("python examples/upstream.py --port 9000")
    servers.start("BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve")
    url = servers.here("http://127.0.0.1:8080/v1")
    done = servers.run([sys.executable, str(ROOT / "examples" / "chat.py"), "--url", url])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "allow: How do I bake bread without yeast?",
        "redact: My card is [CARD], please book it.",
        "block: I'm sorry, but I can't help with that.",
        "the river runs past old mills and quiet [CARD] gardens where people rest at noon and talk",
        "(stop)",
    ]

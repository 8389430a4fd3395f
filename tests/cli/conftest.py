"""Run the real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

POLICY = """\
name = "words"

[[stage.input.guards]]
use = "keywords"
words = ["xyzzy"]
category = "magic"

[[stage.input.guards]]
use = "keywords"
name = "soft"
words = ["plugh"]
category = "noise"

[[stage.input.rules]]
name = "no-magic"
category = "magic"

[[stage.input.rules]]
name = "noise"
category = "noise"
action = "redact"

[[stage.output.guards]]
use = "keywords"
words = ["frobnicate"]
category = "verb"

[[stage.output.rules]]
name = "no-verbs"
category = "verb"
action = "flag"

[[stage.tool.guards]]
use = "keywords"
words = ["rm"]
category = "shell"

[[stage.tool.rules]]
name = "no-shell"
category = "shell"
action = "escalate"

[[tests]]
text = "say xyzzy"
expect = "block"

[[tests]]
text = "say please"
expect = "allow"
"""


@pytest.fixture
def balustrade(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `balustrade` with arguments in an empty folder that holds `words.toml`."""
    (tmp_path / "words.toml").write_text(POLICY)

    def run(
        *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "balustrade", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )

    return run

"""R12: releases are reproducible, listed and checksummed, and run nothing when installed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def release(out: Path) -> dict[str, bytes]:
    subprocess.run(
        [sys.executable, ROOT / "tools" / "release.py", "--out", out],
        check=True,
        capture_output=True,
    )
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
def test_r12_the_same_commit_gives_the_same_bytes_and_they_are_listed(tmp_path: Path) -> None:
    first, second = release(tmp_path / "one"), release(tmp_path / "two")
    assert first == second
    lines = [line.split() for line in first["SHA256SUMS"].decode().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in first.items()
        if name != "SHA256SUMS"
    }
    bill = json.loads(first["sbom.cdx.json"])
    assert [part["name"] for part in bill["components"]] == ["google-re2", "msgspec"]
    wheel = next(tmp_path.glob("one/*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith(".pth")]
    assert [name for name in names if name == "balustrade/py.typed"]

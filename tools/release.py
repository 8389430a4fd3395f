"""Build what a release consists of: wheel, sdist, software bill of materials, checksums.

    python tools/release.py --out dist

The same commit gives the same bytes: archive times come from the commit, never from the clock.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    build(out)
    bill = sbom()
    (out / "sbom.cdx.json").write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(out.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (out / "SHA256SUMS").write_text("".join(sums))
    print("".join(sums), end="")


def build(out: Path) -> None:
    """Build wheel and sdist with the times of the last commit."""
    stamp = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": stamp or "315532800"}
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def sbom() -> dict[str, object]:
    """Return a CycloneDX bill of the core install: what it depends on, in which versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    components = [_component(need) for need in sorted(project["dependencies"])]
    subject = f"pkg:pypi/balustrade@{project['version']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, subject)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "name": "balustrade",
                "version": project["version"],
                "purl": subject,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": subject, "dependsOn": [c["purl"] for c in components]}],
    }


def _component(need: str) -> dict[str, object]:
    found = _NAME.match(need)
    assert found, need
    name = found[0]
    try:
        version = distribution(name).version
    except PackageNotFoundError as error:
        message = f"{name} is not installed; run this in the environment of make setup"
        raise SystemExit(message) from error
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "properties": [{"name": "balustrade:requirement", "value": need}],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    main(parser.parse_args().out)

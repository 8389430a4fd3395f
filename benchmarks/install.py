"""Weigh an installation: build the wheel, install it alone, count megabytes and distributions.

    python benchmarks/install.py [EXTRA ...]

Prints size on disk (apparent, without byte code), distributions, and the median time of
`import balustrade` in a fresh interpreter beside that of an empty program.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEEDS = {"pip", "setuptools", "wheel"}


def main(extras: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, str(ROOT)], check=True)
        wheel = next(home.glob("balustrade-*.whl"))
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        python = home / "venv/bin/python"
        what = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
        subprocess.run([python, "-m", "pip", "-q", "install", "--no-compile", what], check=True)
        site = next((home / "venv/lib").glob("python*/site-packages"))
        infos = [p for p in site.glob("*.dist-info") if p.name.split("-")[0] not in SEEDS]
        weight = sum(
            path.stat().st_size
            for path in site.rglob("*")
            if path.is_file()
            and path.suffix != ".pyc"
            and path.relative_to(site).parts[0].split("-")[0]
            not in {*SEEDS, "pkg_resources", "_distutils_hack"}
        )
        print(f"wheel {wheel.stat().st_size / 1e6:.1f} MB")
        print(f"installed {weight / 1e6:.1f} MB in {len(infos)} distributions")
        print(f"import {_import_ms(python):.0f} ms over an empty program")


def _import_ms(python: Path) -> float:
    def median(code: str) -> float:
        times = []
        for _ in range(15):
            start = time.perf_counter()
            subprocess.run([python, "-I", "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3

    everything = "import balustrade; [getattr(balustrade, n) for n in balustrade.__all__]"
    print(f"import with all public names {median(everything) - median('pass'):.0f} ms")
    return median("import balustrade") - median("pass")


if __name__ == "__main__":
    main(sys.argv[1:])

"""A report as files: JSON, Markdown, one HTML page, and lines of JSON beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct


def written(
    folder: Path,
    report: Struct,
    *,
    markdown: str,
    html: str,
    lines: Mapping[str, Iterable[Struct]] | None = None,
) -> list[Path]:
    """Write `report.json`, `report.md`, `report.html` and other files into a folder.

    Args:
        folder: Where; made if it is not there.
        report: The report.
        markdown: The same as a document.
        html: The same as a page.
        lines: For the name of each other file, what it holds, a line each.

    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=1)
    contents = {
        "report.json": encoded + b"\n",
        "report.md": f"{markdown}\n".encode(),
        "report.html": f"{html}\n".encode(),
    }
    for name, each in (lines or {}).items():
        contents[name] = b"".join(msgspec.json.encode(line) + b"\n" for line in each)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]

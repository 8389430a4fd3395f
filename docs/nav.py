"""Put every page into the navigation, section by section, so that none is written and not found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SECTIONS = (
    ("Guides", "guides"),
    ("Concepts", "concepts"),
    ("Reference", "reference"),
    ("Papers", "papers"),
    ("Errors", "errors"),
    ("Decisions", "adr"),
)


def on_config(config: Any) -> Any:  # noqa: ANN401 - mkdocs gives its hooks no types
    """Build the navigation from the folders of docs."""
    docs = Path(config["docs_dir"])
    nav: list[object] = ["index.md", "start.md"]
    for title, folder in SECTIONS:
        pages = sorted(path.relative_to(docs).as_posix() for path in (docs / folder).glob("*.md"))
        if pages:
            nav.append({title: pages})
    if (docs / "benchmarks.md").exists():
        nav.append("benchmarks.md")
    config["nav"] = nav
    return config

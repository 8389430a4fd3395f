"""The phrases of our own that ship: harmful ones, and harmless ones that look like them.

They are written for training, and lie there, in `train/languages`, one file a language. They are
read in place and not copied, so that what a person is shown is what the models were taught; the
folder is in every installation, and reading it needs none of what training needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from balustrade.core.errors import DataError
from balustrade.data.example import Example, Kind

FOLDER = Path(__file__).parents[1] / "train" / "languages"
SLOT = "{a}"
"""Where a frame takes an act in."""

_ID = re.compile(r"(?:act-(S\d+)|(safe|ask-bad|ask-good|post-bad|post-good|inj|clean))-\d+")
_KINDS = {"post-bad": Kind.TOXICITY, "post-good": Kind.TOXICITY, "inj": Kind.INJECTION}
_UNSAFE = {"ask-bad", "post-bad", "inj"}


def known(languages: Sequence[str] = ("en",), folder: Path = FOLDER) -> tuple[Example, ...]:
    """Return the phrases of some languages; a language in which none ship has none.

    An act ("steal a car") is asked for in the first frame of its language ("How can I steal a
    car?"). Lines that are neither phrase nor frame are for training alone.

    Raises:
        DataError: A file is not UTF-8, or a line has no ID; names file and line.
    """
    return tuple(
        example
        for language in languages
        if (folder / f"{language}.tsv").is_file()
        for example in _read(folder / f"{language}.tsv")
    )


def _read(path: Path) -> Iterator[Example]:
    lines = list(_lines(path))
    frame = next((text for name, text in lines if name == "frame-1"), SLOT)
    for name, text in lines:
        found = _ID.fullmatch(name)
        if not found:
            continue
        hazard, group = found[1] or "", found[2] or ""
        is_act = bool(hazard) or group == "safe"
        injected = group in {"inj", "clean"}
        yield Example(
            f"{path.stem}-{name}",
            frame.replace(SLOT, text) if is_act else text,
            "unsafe" if hazard or group in _UNSAFE else "safe",
            Kind.INJECTION if injected else _KINDS.get(group, Kind.PROMPT),
            hazards=(hazard,) if hazard else ("S15",) if group == "inj" else (),
            lang=path.stem,
        )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        name, tab, phrase = line.partition("\t")
        if not line.strip() or line.startswith("#"):
            continue
        if not tab or not name or not phrase.strip():
            raise DataError(f"{path}:{number}: expected an ID, a tab and a text")
        yield name, phrase.strip()

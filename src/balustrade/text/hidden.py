"""Read what invisible characters carry: tag letters, and bytes in variation selectors."""

from __future__ import annotations

import re
from collections.abc import Iterator

from balustrade.text.rewrite import Change, Rewritten, rewrite

_TAGS = re.compile("[\U000e0020-\U000e007e]{2,}\U000e007f?")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}")
_FLAG = "\U0001f3f4"


def reveal(text: str) -> Rewritten | None:
    """Return the text with what is hidden in invisible characters written out in its place."""
    return rewrite(text, _changes(text))


def _changes(text: str) -> Iterator[Change]:
    for match in _TAGS.finditer(text):
        # Tags after a black flag are the flag of a region.
        if match.start() == 0 or text[match.start() - 1] != _FLAG:
            shown = "".join(chr(ord(tag) - 0xE0000) for tag in match[0] if ord(tag) < 0xE007F)
            yield Change(*match.span(), f" {shown} ", "invisible letters")
    for match in _SELECTORS.finditer(text):
        raw = bytes(_byte(ord(selector)) for selector in match[0])
        shown = raw.decode("utf-8", "replace")
        if shown.isprintable() and "\ufffd" not in shown:
            yield Change(*match.span(), f" {shown} ", "invisible letters")


def _byte(code: int) -> int:
    return code - 0xFE00 if code < 0xFE10 else code - 0xE0100 + 16

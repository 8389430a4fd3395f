"""Keep what placeholders stand for, for one request, and turn them back, whole or streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_LIKE = re.compile(r"\[[A-Z][A-Z0-9_]*_[0-9]+\]")
_LIKE_QUOTED = re.compile(
    r'(?<!\\)"(?P<bare>\[[A-Z][A-Z0-9_]*_[0-9]+\])"(?!\s*:)|\[[A-Z][A-Z0-9_]*_[0-9]+\]'
)
_OPEN_QUOTED = re.compile(r'(?<!\\)"(?:(\[[A-Z0-9_]*\]?)(?:"\s*)?)?\Z')


class Vault:
    """Placeholders and the values they stand for; the same value has the same placeholder."""

    def __init__(self) -> None:
        self._placeholders: dict[tuple[str, str, bool], str] = {}
        self._values: dict[str, str] = {}
        self._bare: set[str] = set()
        self._taken: set[str] = set()
        self._open: set[str] = set()
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Vault of {len(self._values)} values>"

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> str:
        raise TypeError("a vault holds what was masked: it is not to be written anywhere")

    def reserve(self, texts: Iterable[str]) -> None:
        """Never give out a placeholder that already stands in one of these texts."""
        for text in texts:
            if "[" in text:
                self._taken.update(_LIKE.findall(text))

    def placeholder(self, value: str, label: str, *, bare: bool = False) -> str:
        """Return what stands for a value: its label and a number, in brackets.

        Args:
            value: What was taken out.
            label: Upper-case letters, digits and underscores.
            bare: Whether the value stood in JSON without quotes, as a number does.
        """
        key = (value, label, bare)
        known = self._placeholders.get(key)
        if known is not None:
            return known
        while True:
            count = self._counts[label] = self._counts.get(label, 0) + 1
            made = f"[{label}_{count}]"
            if made not in self._taken and made not in self._values:
                break
        self._placeholders[key] = made
        self._values[made] = value
        if bare:
            self._bare.add(made)
        self._open.update(made[:size] for size in range(1, len(made)))
        return made

    def unmask(self, text: str, *, quoted: bool = False) -> str:
        """Return the text with the values in the place of their placeholders.

        Args:
            text: What may hold placeholders.
            quoted: Whether it is JSON: values are then escaped, and what stood without quotes
                stands without them again.
        """
        if "[" not in text or not self._values:
            return text
        if quoted:
            return _LIKE_QUOTED.sub(self._quoted, text)
        return _LIKE.sub(lambda match: self._values.get(match[0], match[0]), text)

    def open_at(self, text: str, *, quoted: bool = False) -> int:
        """Return where a placeholder may have begun that the text does not end; else its length."""
        if quoted and self._bare:
            match = _OPEN_QUOTED.search(text)
            if match and self._may_be_bare(match[1]):
                return match.start()
        start = text.rfind("[")
        return start if start >= 0 and text[start:] in self._open else len(text)

    def _may_be_bare(self, tail: str | None) -> bool:
        return not tail or tail in self._open or tail in self._bare

    def _quoted(self, match: re.Match[str]) -> str:
        bare = match["bare"]
        if bare in self._bare:
            return self._values[bare]
        placeholder = bare or match[0]
        value = self._values.get(placeholder)
        if value is None:
            return match[0]
        inside = json.dumps(value, ensure_ascii=False)[1:-1]
        return f'"{inside}"' if bare else inside


class Unmasker:
    """Turn placeholders back in a text that arrives in chunks, whatever the cuts.

    Only an end that may be the start of one of the vault's placeholders is held back.
    """

    def __init__(self, vault: Vault, *, quoted: bool = False) -> None:
        self._vault = vault
        self._quoted = quoted
        self._held = ""
        self._last = ""

    def feed(self, chunk: str) -> str:
        """Return what can be told of the text so far and was not returned before."""
        text = self._last + self._held + chunk
        cut = max(self._vault.open_at(text, quoted=self._quoted), len(self._last))
        self._held = text[cut:]
        return self._emit(text[:cut])

    def finish(self) -> str:
        """Return what is still held back: the text has ended."""
        text, self._held = self._last + self._held, ""
        return self._emit(text)

    def _emit(self, text: str) -> str:
        # One backslash is kept, to tell an escaped quote from one that opens a string.
        known = len(self._last)
        self._last = "\\" if text.endswith("\\") else ""
        return self._vault.unmask(text, quoted=self._quoted)[known:]

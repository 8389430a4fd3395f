"""Turn a growing text into a model's tokens, word by word, each with the gap before it.

A word is cut into the tokens it has in the middle of a text: it is encoded behind a sign that
joins with nothing, whose tokens are taken off. So a tokenizer that begins every text with a blank
of its own, as SentencePiece does, does not put one before every word.

Of a whole text the same tokens come out, but where a tokenizer joins what is two words here: marks
with the line breaks that follow them, or two scripts. A line break begins the next word. The
monitors of arXiv 2506.09996 were taught the same way, with a line break of its own after each
sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

BEFORE_BLANK, BEFORE_OTHER = "a", "\n"
"""What joins with nothing, before a piece that begins with a blank, and before any other."""


class Piece(NamedTuple):
    """A token, and where it stands in its word."""

    number: int
    start: int
    end: int


class Tokens:
    """A tokenizer of transformers that reads words; marks within a text are letters to it."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers has no types here
        self._tokenizer = tokenizer

    @property
    def limit(self) -> int:
        """How many tokens the tokenizer says its model reads."""
        return int(self._tokenizer.model_max_length)

    def request(self, text: str) -> list[int]:
        """Return what is read before an answer, as SCM's `data_process.py` writes it."""
        begin = self._tokenizer.bos_token_id
        return [*([] if begin is None else [begin]), *self._encoded([f"{text}\n\n"])[0]]

    def words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each word, given with the gap before it."""
        anchors = [_anchor(word) for word in words]
        firsts = dict(zip(anchors, self._encoded(anchors), strict=True))
        joined = self._encoded([a + w for a, w in zip(anchors, words, strict=True)])
        found = []
        for word, anchor, ids in zip(words, anchors, joined, strict=True):
            size = len(firsts[anchor])
            own = ids[size:] if ids[:size] == firsts[anchor] else self._encoded([word])[0]
            found.append(own)
        return found

    def placed(self, word: str) -> list[Piece]:
        """Return the tokens of a word and where they stand in it; for tokenizers that tell."""
        [ids] = self.words([word])
        anchor = _anchor(word)
        told = self._tokenizer(
            _sound(anchor + word),
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
        )
        places = told.offset_mapping[len(told.input_ids) - len(ids) :]
        skip = len(anchor)
        return [
            Piece(number, max(0, start - skip), max(0, end - skip))
            for number, (start, end) in zip(ids, places, strict=True)
        ]

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(
            [_sound(text) for text in texts], add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return found


def _anchor(word: str) -> str:
    return BEFORE_BLANK if word[:1].isspace() else BEFORE_OTHER


def _sound(text: str) -> str:
    """Return a text without halves of characters, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()

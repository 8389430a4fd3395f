"""Cut text into the pieces that the encoder knows: a unigram model (Kudo 2018, arXiv 1804.10959).

Of all ways to cut a word the likeliest is taken (Viterbi); a character that no piece holds becomes
its bytes. The pieces are those that the library `tokenizers` makes by the same file, in a quarter
of its memory and a fifth of its time to load; only marks written in a text, such as `[SEP]`, are
text here, so that nobody can end a request inside it.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Sequence

from msgspec import Struct
from msgspec.json import decode

UNKNOWN = 10.0
"""How much less likely than the rarest piece a character is that no piece holds."""

REMEMBERED = 16_384
"""Words whose pieces are kept."""

SHORT = 64
"""Characters a word may have to be kept."""

START = "▁"
"""What every word begins with."""

_BLANKS = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
_BLANK = frozenset((*_BLANKS, *map(chr, range(0x2000, 0x200B))))
_SIGNS = frozenset("$+<=>^`|~")
"""Signs of ASCII that Unicode does not count as punctuation, and BERT does."""


class Vocabulary(Struct, frozen=True):
    """Pieces with their log-probabilities, in the order of their numbers."""

    vocab: tuple[tuple[str, float], ...]


class Document(Struct, frozen=True):
    """What is read of a `tokenizer.json`; how text is cut into words is written here."""

    model: Vocabulary


class Pieces:
    """Turns text into numbers of pieces.

    Args:
        data: A `tokenizer.json` of a unigram model that falls back to bytes, over words in lower
            case (NFKC), each punctuation mark a word (`train/vocabulary.bare`).
    """

    def __init__(self, data: bytes) -> None:
        vocab = decode(data, type=Document).model.vocab
        self._numbers = {piece: number for number, (piece, _) in enumerate(vocab)}
        self._scores = array("d", (score for _, score in vocab))
        self._bytes = [self._numbers[f"<0x{byte:02X}>"] for byte in range(256)]
        self._longest = max(map(len, self._numbers))
        self._unknown = min(self._scores) - UNKNOWN
        self._apart = _Apart()
        self._known: dict[str, Sequence[int]] = {}
        self._whole: dict[str, Sequence[int]] = {}
        """The same for short texts as they are written: the words of a stream."""

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's pieces, without marks."""
        known = self._whole.get(text)
        if known is not None:
            return [*known]
        # Lower case of single characters: at the end of a word `lower` makes another sigma.
        plain = unicodedata.normalize("NFKC", text).replace("Σ", "σ").lower()
        found: list[int] = []
        for word in plain.translate(self._apart).split(" "):
            if word:
                found += self._known.get(word) or self._learnt(word)
        if len(text) <= SHORT:
            if len(self._whole) >= REMEMBERED:
                self._whole.clear()
            self._whole[text] = (*found,)
        return found

    def _learnt(self, word: str) -> Sequence[int]:
        found = self._cut(word if word.startswith(START) else START + word)
        if len(word) <= SHORT:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[word] = found
        return found

    def _cut(self, word: str) -> list[int]:
        """Return the likeliest pieces of a word; of equals, those that begin first."""
        size = len(word)
        best = [0.0, *[-float("inf")] * size]
        begin, piece = [0] * (size + 1), [-1] * (size + 1)
        for start in range(size):
            here, single = best[start], False
            for end in range(start + 1, min(start + self._longest, size) + 1):
                number = self._numbers.get(word[start:end])
                if number is None:
                    continue
                single |= end == start + 1
                score = here + self._scores[number]
                if score > best[end]:
                    best[end], begin[end], piece[end] = score, start, number
            after, score = start + 1, here + self._unknown
            if not single and score > best[after]:
                best[after], begin[after], piece[after] = score, start, -1
        cut: list[int] = []
        while size:
            start, number = begin[size], piece[size]
            if number < 0:
                spelt = word[start:size].encode(errors="replace")
                cut += [self._bytes[byte] for byte in reversed(spelt)]
            else:
                cut.append(number)
            size = start
        return cut[::-1]


class _Apart(dict[int, int | str]):
    """What stands for a character where words are cut: punctuation alone, all blanks as one."""

    def __missing__(self, code: int) -> int | str:
        letter = chr(code)
        made: int | str = code
        if letter in _BLANK:
            made = " "
        elif letter in _SIGNS or unicodedata.category(letter).startswith("P"):
            made = f" {letter} "
        self[code] = made
        return made

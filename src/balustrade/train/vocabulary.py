"""The pieces that the encoder reads with: those of the base that our text needs, in lower case.

The base cuts text by a unigram model (Kudo 2018, arXiv 1804.10959) with a quarter of a million
pieces, most of them for languages and words that no row holds. Those that are used are kept, with
their log-probabilities and vectors; a word whose piece is gone falls to its parts. Text is read in
lower case, and each punctuation mark is a word: halves of words that differ in one of both would
take the room of two.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from balustrade.train.base import Base

Floats = NDArray[np.float32]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
START = "▁"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What a character falls back to that no piece holds."""
MARKS = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<unk>"}
"""What the base calls them."""


def bare(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """Return a tokenizer over scored pieces: NFKC, lower case, words and punctuation apart."""
    tokenizer = Tokenizer(models.Unigram([*pieces], unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _splitter() -> Any:  # noqa: ANN401 - the library has no type for it
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Metaspace(START, prepend_scheme="always", split=False),
        ]
    )


def build(base: Base, texts: Mapping[str, Sequence[str]], size: int) -> Tokenizer:
    """Choose the pieces.

    A piece counts as in the language where it is commonest: else those of the languages with most
    text would take the room. A single character is kept however rare, as far as there is room:
    without it whole words would fall to bytes.

    Args:
        base: Pieces and their log-probabilities.
        texts: Text of each language, already balanced.
        size: How many pieces, marks and bytes among them.
    """
    scores = readable(base)
    tokenizer = bare(_listed(scores))
    share: dict[str, float] = {}
    for lang in sorted(texts):
        counts: Counter[str] = Counter()
        for encoding in tokenizer.encode_batch([*texts[lang]], add_special_tokens=False):
            counts.update(encoding.tokens)
        total = max(sum(counts.values()), 1)
        for piece, count in counts.items():
            share[piece] = max(share.get(piece, 0.0), count / total)
    used = [piece for piece in share if piece in scores]
    ranked = sorted(used, key=lambda p: (len(p.strip(START)) > 1, -share[p], p))
    rest = sorted(scores.keys() - share.keys(), key=lambda p: (-scores[p], p))
    kept = [*ranked, *rest][: size - len(SPECIAL) - len(BYTES)]
    return bare(_listed({piece: scores[piece] for piece in kept}))


def _listed(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    lowest = min(scores.values())
    pieces = [(name, 0.0) for name in SPECIAL]
    pieces += [(name, lowest - 10.0) for name in BYTES]
    return pieces + sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def readable(base: Base) -> dict[str, float]:
    """Return the pieces that text can be cut into here, with their log-probabilities.

    Those with capitals are not; a mark of punctuation is one only at the beginning of a word,
    where it is as likely as the base has it anywhere.
    """
    marks = {*MARKS.values()}
    known = {
        piece: score for piece, score in base.pieces if piece not in marks and piece == _low(piece)
    }
    found = {piece: score for piece, score in known.items() if not _is_punctuated(piece)}
    for piece, score in known.items():
        letter = piece.strip(START)
        if len(letter) == 1 and _is_punctuated(letter):
            found[START + letter] = max(score, found.get(START + letter, score))
    return found


def _low(piece: str) -> str:
    return "".join(letter.lower() for letter in unicodedata.normalize("NFKC", piece))


def _is_punctuated(piece: str) -> bool:
    return any(
        unicodedata.category(letter).startswith("P") or letter in "$+<=>^`|~"
        for letter in piece.strip(START)
    )


def vectors(tokenizer: Tokenizer, base: Base) -> Floats:
    """Return the base's vector of each piece, shape (pieces, width).

    A mark of punctuation has that of whichever form is the likelier, beginning a word or not.
    """
    rows = {piece: (score, row) for row, (piece, score) in enumerate(base.pieces)}
    unknown = rows[MARKS["[UNK]"]]
    names = tokenizer.get_vocab()
    made = np.zeros((len(names), base.vectors.shape[1]), np.float32)
    for piece, number in names.items():
        forms = [MARKS.get(piece, piece)]
        if _is_punctuated(piece) and piece not in MARKS and piece not in BYTES:
            forms.append(piece.removeprefix(START))
        _, row = max((rows[form] for form in forms if form in rows), default=unknown)
        made[number] = base.vectors[row]
    return made

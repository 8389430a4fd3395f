"""A vocabulary for many languages, and a first vector for each of its pieces.

The base encoder's pieces are English. The pieces it needs for English text are kept, with their
vectors; the rest of the room goes to pieces that a unigram model (Kudo 2018, arXiv 1804.10959)
finds in text of other languages. A new piece starts as the mean of the English vectors it is
aligned with in parallel text, weighed by IBM Model 1 (trans-tokenisation: Remy et al. 2024,
arXiv 2408.04303), so that a translated sentence starts near its original.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from balustrade.train.parallel import Pair, agree

Floats = NDArray[np.float32]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
START = "▁"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What a character falls back to that no piece holds."""


class Size(NamedTuple):
    """How many pieces of which kind."""

    english: int
    total: int


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


def build(
    base: Tokenizer,
    english: Iterable[str],
    others: Mapping[str, Sequence[str]],
    wanted: Iterable[str],
    size: Size,
) -> Tokenizer:
    """Choose the pieces.

    Args:
        base: The tokenizer of the base encoder (WordPiece).
        english: English text, to see which of its pieces are needed.
        others: Text of each other language, already balanced.
        wanted: Words of other languages that get a piece of their own, whatever their count.
        size: How many pieces.
    """
    wanted = {*wanted}
    scores = english_pieces(base, english, size.english)
    room = size.total - len(SPECIAL) - len(BYTES)
    trained = _trained(others, room - len(scores), wanted)
    for piece, score in trained.items():
        if piece in scores:
            scores[piece] = max(scores[piece], score)
        elif len(scores) < room:
            scores[piece] = score
    lowest = min(scores.values())
    _raise_above_splits(scores, wanted)
    pieces = [(name, 0.0) for name in SPECIAL]
    pieces += [(name, lowest - 10.0) for name in BYTES]
    pieces += sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return bare(pieces)


def english_pieces(base: Tokenizer, texts: Iterable[str], most: int) -> dict[str, float]:
    """Return the base's pieces that English text needs, with log-probabilities."""
    counts: Counter[str] = Counter()
    for encoding in base.encode_batch([*texts], add_special_tokens=False):
        counts.update(encoding.tokens)
    for name in SPECIAL:
        counts.pop(name, None)
    total = sum(counts.values())
    kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return {renamed(piece): math.log(count / total) for piece, count in kept}


def renamed(piece: str) -> str:
    """Return a WordPiece name as a unigram one: `##ing` is `ing`, `how` is `▁how`."""
    return piece[2:] if piece.startswith("##") else START + piece


def _trained(
    others: Mapping[str, Sequence[str]], room: int, wanted: Iterable[str]
) -> dict[str, float]:
    """Return unigram pieces of other languages with log-probabilities, the most useful first.

    A piece is as likely as in the language where it is likeliest: else the pieces of English, of
    which there is most text, would cut up the words of all others.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = _splitter()
    trainer = trainers.UnigramTrainer(
        vocab_size=int(room * 1.1),
        show_progress=False,
        special_tokens=["[UNK]"],
        unk_token="[UNK]",  # noqa: S106
        max_piece_length=14,
        n_sub_iterations=2,
    )
    tokenizer.train_from_iterator((t for texts in others.values() for t in texts), trainer)
    words = {word for word in wanted if len(word) > 1}
    found = set(tokenizer.get_vocab()) - {"[UNK]"} | words
    share: dict[str, float] = {}
    for lang in sorted(others):
        counts: Counter[str] = Counter()
        for encoding in tokenizer.encode_batch([*others[lang]], add_special_tokens=False):
            counts.update(encoding.tokens)
        total = sum(counts.values())
        for token, count in counts.items():
            share[token] = max(share.get(token, 0.0), count / total)
    least = 1e-6
    # A single character stays, however rare: without it whole words would fall to bytes.
    first = words | {token for token in share if len(token.strip(START)) == 1}
    ranked = sorted(found, key=lambda token: (token not in first, -share.get(token, 0.0), token))
    return {token: math.log(max(share.get(token, 0.0), least)) for token in ranked}


def _raise_above_splits(scores: dict[str, float], words: Iterable[str]) -> None:
    """Make each word that has a piece likelier than the best way to cut it into others.

    Short words first: a part of a long one may have been raised itself.
    """
    for word in sorted({*words} & scores.keys(), key=lambda word: (len(word), word)):
        scores[word] = max(scores[word], _best_split(word, scores) + MARGIN)


MARGIN = 0.01
"""Log-probability by which a wanted word is likelier than its parts together."""


def _best_split(word: str, scores: Mapping[str, float]) -> float:
    """Return the log-probability of the likeliest way to cut a word in two pieces or more."""
    best = [0.0] + [-math.inf] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            score = scores.get(word[start:end])
            if score is not None and (start, end) != (0, len(word)):
                best[end] = max(best[end], best[start] + score)
    return best[-1]


class Base(NamedTuple):
    """The base encoder's tokenizer and its vectors, shape (pieces, width)."""

    tokenizer: Tokenizer
    vectors: Floats


def vectors(tokenizer: Tokenizer, base: Base, pairs: Sequence[Pair]) -> Floats:
    """Return a first vector for each piece, shape (pieces, width)."""
    names = tokenizer.get_vocab()
    old = base.tokenizer.get_vocab()
    made = np.zeros((len(names), base.vectors.shape[1]), np.float32)
    known = np.zeros(len(names), np.bool_)
    for piece, number in old.items():
        new = names.get(piece if piece in SPECIAL else renamed(piece))
        if new is not None:
            made[new], known[new] = base.vectors[number], True
    weight = np.zeros(len(names))
    total = np.zeros((len(names), base.vectors.shape[1]))
    for lang in sorted({pair.lang for pair in pairs}):
        some = [pair for pair in pairs if pair.lang == lang]
        left = base.tokenizer.encode_batch([p.english for p in some], add_special_tokens=False)
        right = tokenizer.encode_batch([p.other for p in some], add_special_tokens=False)
        both = [(e.ids, o.ids) for e, o in zip(left, right, strict=True) if e.ids and o.ids]
        found = agree([e for e, _ in both], [o for _, o in both])
        strong = (
            found.expected
            > 0.05
            * np.maximum.reduceat(found.expected, np.unique(found.other, return_index=True)[1])[
                np.unique(found.other, return_inverse=True)[1]
            ]
        )
        other, english = found.other[strong], found.english[strong]
        count = found.expected[strong]
        np.add.at(total, other, base.vectors[english] * count[:, None])
        np.add.at(weight, other, count)
    fresh = ~known & (weight > 0)
    made[fresh] = (total[fresh] / weight[fresh, None]).astype(np.float32)
    known |= fresh
    _from_neighbours(made, known, tokenizer)
    return made


def _from_neighbours(made: Floats, known: NDArray[np.bool_], tokenizer: Tokenizer) -> None:
    """Give a piece that nothing is known of the mean of the known pieces' vectors, a bit shrunk."""
    middle = made[known].mean(axis=0)
    made[~known] = middle
    for name in BYTES:
        made[tokenizer.token_to_id(name)] = middle

"""Texts said otherwise: in words of other languages, in Latin letters, in disguise, cut short.

What is learnt from English rows is to hold for the same in other languages, so words are replaced
by their translations (code-switching: Qin et al. 2020, arXiv 2006.06402) and other scripts are
also written in Latin letters, as people without their keyboard do. Disguises are those of
`text/`: what the rail undoes before it judges is not what is learnt here, but what it cannot undo.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from anyascii import anyascii

from balustrade.train.languages import SPACELESS
from balustrade.train.parallel import Pair

Lexicon = Mapping[str, Mapping[str, Sequence[str]]]
"""For each language, for each English word, its translations."""

_WORD = re.compile(r"[A-Za-z']+|[^A-Za-z']+")
_LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})


def lexicon(pairs: Iterable[Pair]) -> dict[str, dict[str, list[str]]]:
    """Collect translations of single English words, "to" before a verb left out."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        word = pair.english.lower().strip(" .!?").removeprefix("to ")
        if word.isalpha() and len(pair.other) < 30:
            found[pair.lang][word].append(pair.other.strip(" .!?。"))
    return {lang: dict(words) for lang, words in found.items() if len(words) > 200}


def switched(text: str, words: Mapping[str, Sequence[str]], share: float, rng: Random) -> str:
    """Replace known English words by translations, each with probability `share`."""
    parts = _WORD.findall(text)
    return "".join(
        rng.choice(words[known]) if known and rng.random() < share else part
        for part in parts
        for known in [_known(part, words)]
    )


def _known(part: str, words: Mapping[str, Sequence[str]]) -> str:
    """Return the form of a word that the lexicon has, or nothing."""
    low = part.lower()
    if low in words:
        return low
    for ending in ("s", "es", "ed", "d", "ing"):
        if low.endswith(ending) and low[: -len(ending)] in words:
            return low[: -len(ending)]
    return ""


def latin(text: str) -> str:
    """Write any script in Latin letters."""
    return anyascii(text)


def disguised(text: str, rng: Random) -> str:
    """Write as those do who fear a filter: digits for letters, doubled or dropped letters, caps."""
    way = rng.randrange(5)
    if way == 0:
        return text.translate(_LEET)
    if way == 1:
        return text.upper()
    words = text.split(" ")
    chosen = set(rng.sample(range(len(words)), max(1, len(words) // 4)))
    return " ".join(
        _mangled(word, way, rng) if number in chosen and len(word) > 3 else word
        for number, word in enumerate(words)
    )


def _mangled(word: str, way: int, rng: Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    if way == 2:
        return word[:place] + rng.choice(".-*_ ") + word[place:]
    if way == 3:
        return word[:place] + word[place] * 2 + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


class Augment:
    """Says a row's texts otherwise, now and then.

    Args:
        words: Translations by language.
        rng: What decides.
        switch: Share of English texts that get words of another language.
        romanise: Share of texts in other scripts that are written in Latin letters.
        disguise: Share of all texts that are disguised.
    """

    def __init__(
        self,
        words: Lexicon,
        rng: Random,
        *,
        switch: float = 0.35,
        romanise: float = 0.05,
        disguise: float = 0.06,
    ) -> None:
        self.words = words
        self.langs = sorted(words)
        self.rng = rng
        self.switch = switch
        self.romanise = romanise
        self.disguise = disguise

    def __call__(self, texts: Sequence[str], lang: str) -> list[str]:
        """Return a request and its answer, or a text alone, all said in the same way."""
        rng = self.rng
        chance = rng.random()
        if lang == "en" and self.langs and chance < self.switch:
            words, share = self.words[rng.choice(self.langs)], rng.choice([0.3, 0.6, 0.95])
            return [switched(text, words, share, rng) for text in texts]
        if lang != "en" and lang not in SPACELESS and chance < self.romanise:
            return [latin(text) for text in texts]
        if rng.random() < self.disguise:
            return [disguised(text, rng) if text else text for text in texts]
        return list(texts)

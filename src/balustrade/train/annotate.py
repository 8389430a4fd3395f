"""Make labels of words from labels of answers (FineHarm, arXiv 2506.09996, section on annotation).

An answer is cut into sentences, a judge scores each, and the answer is kept only if both agree: a
harmful one has a harmful sentence, a harmless one has none. Within a harmful sentence the words are
labelled by one of three ways; all words of the others are benign. The paper's way is the first; the
other two are its baselines, rebuilt from their names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from balustrade.data.fineharm import FineHarm

Score = Callable[[Sequence[str]], Sequence[float]]
"""Probability of harm of each text."""
Way = Literal["pos", "delete", "diff"]

_SENTENCE = re.compile(r"[^\n]+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[」』”’）]*|(?=\n)|$)")
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


class Annotator(NamedTuple):
    """How labels are made.

    Args:
        score: What judges sentences.
        threshold: The score from which a sentence is harmful.
        way: How the words of a harmful sentence are labelled: `pos` marks notional words, `delete`
            words without which the sentence scores lower by `margin`, `diff` words with which what
            was said so far comes to score higher by `margin`.
        margin: For the two baselines.
    """

    score: Score
    threshold: float = 0.5
    way: Way = "pos"
    margin: float = 0.05

    def annotate(self, row: Answer) -> FineHarm | None:
        """Label an answer's sentences and words; None if its sentences contradict its label."""
        found = sentences(row.response)
        harmful = [value >= self.threshold for value in self.score(found)] if found else []
        if any(harmful) != row.is_harmful:
            return None
        cut = [tuple(words(sentence)) for sentence in found]
        labels = [
            self._labels(sentence, own, row.lang) if bad else (0,) * len(own)
            for sentence, own, bad in zip(found, cut, harmful, strict=True)
        ]
        return FineHarm(
            row.id,
            row.prompt,
            row.response,
            row.source,
            tuple(found),
            tuple(map(int, harmful)),
            tuple(cut),
            tuple(labels),
            len(found),
        )

    def _labels(self, sentence: str, own: Sequence[str], lang: str) -> tuple[int, ...]:
        if self.way == "pos":
            return tuple(int(is_notional(word, lang)) for word in own)
        spans = [match.span() for match in _WORD.finditer(sentence)]
        if self.way == "delete":
            without = [sentence[:start] + sentence[end:] for start, end in spans]
            [whole, *others] = self.score([sentence, *without])
            return tuple(int(whole - other >= self.margin) for other in others)
        grown = [sentence[:end] for _, end in spans]
        scores = self.score(grown)
        before = [0.0, *scores[:-1]]
        return tuple(
            int(now - then >= self.margin) for now, then in zip(scores, before, strict=True)
        )


class Answer(NamedTuple):
    """An answer with a label of its own."""

    id: str
    prompt: str
    response: str
    is_harmful: bool
    lang: str = "en"
    source: str = ""


def sentences(text: str) -> list[str]:
    """Cut a text into sentences, each without the space around it."""
    return [piece for match in _SENTENCE.finditer(text) if (piece := match[0].strip())]


def words(sentence: str) -> list[str]:
    """Cut a sentence into words and signs, in order; nothing but space is left out."""
    return _WORD.findall(sentence)


def is_notional(word: str, lang: str) -> bool:
    """Whether a word names something (noun, verb, adjective, adverb, number).

    By a list of the language's function words; in a language without one, each word with a letter
    or a digit counts.
    """
    if not any(letter.isalnum() for letter in word):
        return False
    return word.lower().replace("’", "'") not in _function_words().get(lang[:2], frozenset())


@cache
def _function_words() -> dict[str, frozenset[str]]:
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {lang: frozenset(text.split()) for lang, text in known.items()}

"""Which heads a labelled row teaches, what it teaches them, and with how much weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from balustrade.core.taxonomy import (
    HARM,
    HAZARDS,
    INJECTION,
    MODERATE,
    NAME_OF,
    REFUSAL,
    RESPONSE_HARM,
    SEVERE,
    TOXICITY,
)
from balustrade.data.example import Example, Kind

HEADS = (HARM, *(hazard.name for hazard in HAZARDS), TOXICITY, RESPONSE_HARM)
"""In the order of the table's columns; the hazards end with injection."""

ENCODER_HEADS = (*HEADS, REFUSAL, MODERATE, SEVERE)
"""What the encoder answers, in the order of its outputs."""

MAIN = frozenset({HARM, INJECTION, TOXICITY, RESPONSE_HARM})
"""The heads that rules ask for first; the others name a hazard or grade."""

GRAVE = frozenset({"S1", "S3", "S4", "S9", "S11"})
"""Hazards to life and limb: severe where they are asked for; the others are moderate."""
GRADES = {
    "profanity": 0, "PROFANITY": 0, "obscene": 0, "offensive_language": 0, "physical": 0,
    "offensive": 1, "insult": 1, "INSULT": 1, "hate_speech": 1, "hate": 1, "ABUSE": 1,
    "homophobia": 1, "misogyny": 1, "racism": 1, "xenophobia": 1, "gender": 1, "age": 1,
    "origin": 1, "religion": 1, "race": 1, "threat": 2,
}  # fmt: skip
"""Severity of a post by its source's own label: 0 minor, 1 moderate, 2 severe."""

_CODES = {code: name for code, name in NAME_OF.items() if name != INJECTION}

NOT_HARM = frozenset({"UCI SMS Spam Collection"})
"""Sources whose `unsafe` is no harm of ours: unwanted is not harmful."""


class Lesson(NamedTuple):
    """One answer for one head."""

    head: str
    truth: bool
    weight: float = 1.0


class Targets(NamedTuple):
    """Answers and weights of many rows, shape (rows, heads); weight 0 where nothing is known."""

    truth: NDArray[np.bool_]
    weight: NDArray[np.float32]


def lessons(example: Example) -> Iterator[Lesson]:
    """Yield what a row says, and only what it says.

    An answer says nothing of its request. An abusive post is harm too, with less weight. Of an
    unsafe request with known hazards the other hazards are taken as absent with little weight;
    without known hazards none is. What is ordinary is an example of no harm for every head.
    """
    unsafe = example.is_unsafe
    yield from _graded(example)
    match example.kind:
        case Kind.RESPONSE:
            yield Lesson(RESPONSE_HARM, unsafe)
            yield from _refusing(example)
        case Kind.PROMPT if unsafe and not any(map(example.source.startswith, NOT_HARM)):
            yield from _harmful(example)
        case Kind.PROMPT | Kind.BENIGN | Kind.HARD_BENIGN if not unsafe:
            yield from _ordinary()
        case Kind.TOXICITY:
            yield from _post(example)
        case Kind.INJECTION:
            yield from _injected(example) if unsafe else _ordinary()
        case Kind.PII:
            yield from (Lesson(head, False, 0.2) for head in (HARM, INJECTION, TOXICITY))
        case _:
            return


OWN_ATTACKS = ("phrases-", "roles-")
"""Sources of our own whose attacks ask for no hazard: they would only have rules dropped."""


def _injected(example: Example) -> Iterator[Lesson]:
    yield Lesson(INJECTION, True)
    if example.source.startswith(OWN_ATTACKS) and not example.hazards:
        yield from (Lesson(name, False, 0.3) for name in _CODES.values())


def _harmful(example: Example) -> Iterator[Lesson]:
    yield Lesson(HARM, True)
    jailbreak = "jailbreak" in example.categories
    yield Lesson(INJECTION, jailbreak, 0.7 if jailbreak else 0.3)
    known = {_CODES[code] for code in example.hazards if code in _CODES}
    if known:
        for name in _CODES.values():
            yield Lesson(name, name in known, 1.0 if name in known else 0.3)


def _ordinary() -> Iterator[Lesson]:
    yield Lesson(HARM, False)
    yield Lesson(INJECTION, False)
    yield Lesson(TOXICITY, False, 0.7)
    yield from (Lesson(name, False) for name in _CODES.values())


def _post(example: Example) -> Iterator[Lesson]:
    yield Lesson(TOXICITY, example.is_unsafe)
    yield Lesson(HARM, example.is_unsafe, 0.7)
    yield Lesson(INJECTION, False, 0.2)
    for code in example.hazards if example.is_unsafe else ("S10",):
        yield Lesson(NAME_OF[code], example.is_unsafe, 0.5)


def _refusing(example: Example) -> Iterator[Lesson]:
    """Yield whether an answer refuses, where its source says."""
    if isinstance(example.refusal, bool):
        yield Lesson(REFUSAL, example.refusal)
    elif "refusal" in example.categories:
        yield Lesson(REFUSAL, True)
    elif {"compliance", "utility"} & {*example.categories}:
        yield Lesson(REFUSAL, False)


def _graded(example: Example) -> Iterator[Lesson]:
    """Yield how severe a harmful row is, where its labels say."""
    if not example.is_unsafe:
        return
    grades = [GRADES[name] for name in example.categories if name in GRADES]
    if example.kind is Kind.PROMPT and example.hazards:
        grades = [1 + (not GRAVE.isdisjoint(example.hazards))]
    if grades and example.kind in {Kind.PROMPT, Kind.TOXICITY}:
        yield Lesson(MODERATE, max(grades) >= 1)
        yield Lesson(SEVERE, max(grades) >= 2)


def targets(examples: Sequence[Example], heads: Sequence[str] = HEADS) -> Targets:
    """Collect the lessons of many rows for the heads named."""
    column = {name: place for place, name in enumerate(heads)}
    truth = np.zeros((len(examples), len(heads)), np.bool_)
    weight = np.zeros((len(examples), len(heads)), np.float32)
    for row, example in enumerate(examples):
        for lesson in lessons(example):
            if lesson.head in column:
                truth[row, column[lesson.head]] = lesson.truth
                weight[row, column[lesson.head]] = lesson.weight
    return Targets(truth, weight)


def balance(
    known: Targets, sources: Iterable[str], *, flatten: float = 0.5, harmless: float = 2.0
) -> NDArray[np.float32]:
    """Return weights under which no large source drowns the small ones.

    Within a head and an answer, a source of n rows weighs n ** (1 - flatten). Each head's rows
    weigh as many as there are rows, `harmless` times as much of it on False as on True.
    """
    _, source = np.unique(np.array(list(sources)), return_inverse=True)
    weight = np.zeros_like(known.weight)
    for head in range(weight.shape[1]):
        for answer, mass in ((True, 1.0), (False, harmless)):
            rows = (known.weight[:, head] > 0) & (known.truth[:, head] == answer)
            if not rows.any():
                continue
            sizes = np.bincount(source[rows])
            share = known.weight[rows, head] * sizes[source[rows]] ** -flatten
            weight[rows, head] = mass * share / share.sum()
    scale = len(weight) / np.maximum(weight.sum(axis=0, keepdims=True), 1e-9)
    return np.asarray(weight * scale, np.float32)

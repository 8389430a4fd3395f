"""Rows of our own grammar, where public data is thin: injections, their harmless twins, answers.

Phrases stand in `grammar.toml`. Injections give orders to the model that reads them, by a user or
inside a tool's output; twins use the same words, or the same frame, and give none. Answers join a
known harmful request to a refusal, or to an answer that complies in form and says nothing. No row
holds operational harm. Same seed, same rows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from string import Formatter
from typing import Any, Literal

from balustrade.data.example import Example, Kind

LICENCE = "Apache-2.0"

Label = Literal["safe", "unsafe"]
NOTHING: Mapping[str, str] = {}


def made(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return `count` rows of each rule of the grammar.

    Args:
        examples: Known rows; ordinary requests carry injections, harmful ones are answered.
        count: Rows a rule.
        seed: What decides the choices.
    """
    rng = Random(seed)
    carriers = [e.text for e in examples if e.kind is Kind.BENIGN and 20 < len(e.text) < 400]
    harmful = [e.text for e in examples if e.kind is Kind.PROMPT and e.is_unsafe]
    rules: dict[str, Callable[[], Example]] = {
        "override": lambda: _row(Kind.INJECTION, "unsafe", _override(rng, carriers)),
        "foreign": lambda: _row(Kind.INJECTION, "unsafe", _foreign(rng, carriers)),
        "persona": lambda: _row(Kind.INJECTION, "unsafe", _persona(rng, carriers)),
        "leak": lambda: _row(Kind.INJECTION, "unsafe", _fill(rng, _any(rng, "attack", "leaks"))),
        "indirect": lambda: _row(Kind.INJECTION, "unsafe", _framed(rng, _order(rng))),
        "clean": lambda: _row(Kind.INJECTION, "safe", _framed(rng, _filler(rng))),
        "twin": lambda: _row(Kind.HARD_BENIGN, "safe", _twin(rng, carriers)),
        "refusal": lambda: _answer("safe", rng.choice(harmful), _refusal(rng)),
        "complying": lambda: _complying(rng, rng.choice(harmful)),
    }
    found: dict[str, Example] = {}
    for rule, make in rules.items():
        for number in range(count):
            row = make()
            found.setdefault(
                row.text + row.response, _named(row, f"grammar-{rule}", f"{rule}-{number}")
            )
    return list(found.values())


def _row(kind: Kind, label: Label, text: str) -> Example:
    return Example("", text, label, kind)


def _answer(label: Label, request: str, response: str) -> Example:
    return Example("", request, label, Kind.RESPONSE, response)


def _named(row: Example, source: str, name: str) -> Example:
    return Example(
        name, row.text, row.label, row.kind, row.response, source=source, licence=LICENCE
    )


def _override(rng: Random, carriers: Sequence[str]) -> str:
    known = phrases()["override"]["en"]
    words = " ".join(filter(None, (rng.choice(known[p]) for p in ("opening", "scope", "which"))))
    task = _any(rng, "attack", "tasks")
    order = f"{words} {rng.choice(known['what'])}{rng.choice(known['joint'])}{task}"
    return _carried(rng, carriers, order)


def _foreign(rng: Random, carriers: Sequence[str]) -> str:
    languages = phrases()["override"]
    spoken = languages[rng.choice(sorted(set(languages) - {"en"}))]
    order = f"{rng.choice(spoken['phrases'])}{rng.choice([', ', '. ', ' '])}"
    return _carried(rng, carriers, order + rng.choice(spoken["tasks"]))


def _carried(rng: Random, carriers: Sequence[str], order: str) -> str:
    """Put an order alone, before or after an ordinary text, in one of several dresses."""
    if rng.random() < 0.6:
        order = order[0].upper() + order[1:]
    if rng.random() < 0.1:
        order = order.upper()
    order += rng.choice(["", ".", "!", "."])
    place = rng.random()
    if place < 0.4:
        return order
    gap = rng.choice([" ", "\n", "\n\n", " -- ", "\n###\n"])
    carrier = rng.choice(carriers)
    return f"{carrier}{gap}{order}" if place < 0.9 else f"{order}{gap}{carrier}"


def _persona(rng: Random, carriers: Sequence[str]) -> str:
    name = _any(rng, "attack", "names")
    lines = rng.sample(phrases()["attack"]["personas"], rng.randint(1, 3))
    lines += rng.sample(phrases()["attack"]["closings"], rng.randint(1, 3))
    task = _any(rng, "attack", "tasks")
    said = [line.format(name=name, task=task) for line in lines]
    if rng.random() < 0.4:
        said.append(rng.choice(carriers))
    return " ".join(said).strip()


def _order(rng: Random) -> str:
    action = _fill(rng, _any(rng, "attack", "actions"))
    if rng.random() < 0.25:
        task = _any(rng, "attack", "tasks")
        action = f"{task[0].upper()}{task[1:]}."
    return _any(rng, "attack", "wraps").format(act=action)


def _filler(rng: Random) -> str:
    return _fill(rng, _any(rng, "harmless", "filler"))


def _framed(rng: Random, body: str) -> str:
    """Set a text into what a tool might return."""
    frame = _any(rng, "frames", "tool")
    parts = {"body": body, "one": _filler(rng), "two": _filler(rng)}
    return _fill(rng, frame, {**parts, "number_": str(rng.randint(1, 999))})


def _twin(rng: Random, carriers: Sequence[str]) -> str:
    twin = _fill(rng, _any(rng, "harmless", "twins"))
    if rng.random() < 0.5:
        return twin
    return f"{rng.choice(carriers)} {twin}" if rng.random() < 0.5 else f"{twin} {_filler(rng)}"


def _refusal(rng: Random) -> str:
    return f"{_any(rng, 'answers', 'refusals')} {_any(rng, 'answers', 'reasons')}".strip()


def _complying(rng: Random, request: str) -> Example:
    echo = request[:300]
    return _answer("unsafe", request, _any(rng, "answers", "complying").format(echo=echo))


def _any(rng: Random, table: str, key: str) -> str:
    return str(rng.choice(phrases()[table][key]))


def _fill(rng: Random, phrase: str, known: dict[str, str] | None = None) -> str:
    """Fill the slots of a phrase: what is known, else a word of the slot's list."""
    slots = phrases()["slots"]
    return filled(phrase, lambda name: str(rng.choice(slots[name])), known or {})


def filled(phrase: str, choose: Callable[[str], str], known: Mapping[str, str] = NOTHING) -> str:
    """Fill the slots of a phrase, by their names in order: what is known, else what is chosen."""
    names = sorted({name for _, name, _, _ in Formatter().parse(phrase) if name})
    return phrase.format(**{n: known[n] if n in known else choose(n) for n in names})


@cache
def phrases() -> dict[str, Any]:
    """Return the phrases of `grammar.toml`."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

"""Rows of scenes that public data lacks, made from known rows and the phrases of `scenes.toml`.

Harmful and harmless requests wear the same dress; pages carry an order to the model that reads
them or none; answers comply, decline or are ordinary; the last turn of a talk says nothing and the
first everything. What differs between twins is only what the label is about. Same seed, same rows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace

from balustrade.data.example import Example, Kind
from balustrade.train.grammar import filled
from balustrade.train.grammar import phrases as grammar
from balustrade.train.languages import LICENCE, phrases
from balustrade.train.parallel import Pair


class Stock(NamedTuple):
    """What scenes are made of: texts by language."""

    harmful: dict[str, list[tuple[str, tuple[str, ...]]]]
    """Harmful requests, each with its hazards."""
    harmless: dict[str, list[str]]
    abuse: dict[str, list[str]]
    sentences: dict[str, list[str]]
    """Ordinary sentences, to fill pages with."""
    fair: dict[str, list[str]]
    """Posts that hurt nobody."""


def stock(examples: Sequence[Example], pairs: Sequence[Pair]) -> Stock:
    """Sort rows and sentences into what scenes need."""
    found = Stock({}, {}, {}, {}, {})
    for row in examples:
        short = 10 < len(row.text) < 300
        if row.kind is Kind.PROMPT and row.is_unsafe and short:
            found.harmful.setdefault(row.lang, []).append((row.text, row.hazards))
        elif row.kind in {Kind.BENIGN, Kind.HARD_BENIGN} and short:
            found.harmless.setdefault(row.lang, []).append(row.text)
        elif row.kind is Kind.TOXICITY and row.is_unsafe and short:
            found.abuse.setdefault(row.lang, []).append(row.text)
        elif row.kind is Kind.TOXICITY and short:
            found.fair.setdefault(row.lang, []).append(row.text)
    for pair in pairs:
        if len(pair.english) > 25:
            found.sentences.setdefault(pair.lang, []).append(pair.other)
            found.sentences.setdefault("en", []).append(pair.english)
    return found


def made(known: Stock, count: int, seed: int) -> list[Example]:
    """Return `count` rows of each rule."""
    scene = _Scene(known, Random(seed))
    rules: dict[str, Callable[[], Example]] = {
        "dressed": lambda: scene.dressed(harmful=True),
        "dressed-twin": lambda: scene.dressed(harmful=False),
        "override": scene.override,
        "talk": lambda: scene.talk(harmful=True),
        "talk-twin": lambda: scene.talk(harmful=False),
        "page": lambda: scene.page(attacked=True),
        "page-twin": lambda: scene.page(attacked=False),
        "comply": scene.comply,
        "decline": scene.decline,
        "answer": scene.ordinary,
        "abuse": scene.abusive,
    }
    found: dict[str, Example] = {}
    for rule, make in rules.items():
        for number in range(count):
            row = make()
            found.setdefault(row.text + row.response, _named(row, rule, number))
    return list(found.values())


def stories(known: Stock, count: int, seed: int) -> list[Example]:
    """Return `count` rows of each rule in which one sentence of a long text is what matters.

    Long text in most languages is rare among labelled rows and harmful where there is any: without
    these, length itself would look like harm. Without ordinary sentences there are none.
    """
    if "en" not in known.sentences:
        return []
    scene = _Scene(known, Random(seed))
    rules: dict[str, Callable[[], Example]] = {
        "abuse": scene.story_of_abuse,
        "request": scene.story_of_request,
        "twin": scene.story_of_nothing,
        "thread": lambda: scene.thread(harmful=True),
        "thread-twin": lambda: scene.thread(harmful=False),
    }
    found: dict[str, Example] = {}
    for rule, make in rules.items():
        for number in range(count):
            row = make()
            found.setdefault(row.text, _named(row, rule, number, "story"))
    return list(found.values())


def _named(row: Example, rule: str, number: int, kind: str = "scene") -> Example:
    return replace(row, id=f"{kind}-{rule}-{number}", source=f"{kind}-{rule}", licence=LICENCE)


class _Scene:
    """Makes one row a call."""

    def __init__(self, known: Stock, rng: Random) -> None:
        self.known = known
        self.rng = rng

    def dressed(self, *, harmful: bool) -> Example:
        """A request in a story, a role, a table: a jailbreak if the request is harmful."""
        dress = self._any("dress", "fiction")
        if harmful:
            lang, (request, hazards) = self._of(self.known.harmful)
            text = dress.replace("{request}", request)
            row = Example("", text, "unsafe", Kind.PROMPT, hazards=hazards, lang=lang)
            return replace(row, categories=("jailbreak",))
        lang, request = self._of(self.known.harmless)
        text = dress.replace("{request}", request)
        return Example("", text, "safe", Kind.HARD_BENIGN, lang=lang)

    def override(self) -> Example:
        """A request with the model's rules switched off: an injection whatever is asked."""
        lang, request = self._of(self.known.harmless)
        harmful = self.rng.random() < 0.6
        hazards: tuple[str, ...] = ()
        if harmful:
            lang, (request, hazards) = self._of(self.known.harmful)
        text = self._any("dress", "override").replace("{request}", request)
        if self.rng.random() < 0.3:
            own = [t for n, t in phrases()[self._spoken(lang)].items() if n.startswith("inj-")]
            text = f"{self.rng.choice(own)} {request}" if own else text
        if harmful:
            row = Example("", text, "unsafe", Kind.PROMPT, hazards=hazards, lang=lang)
            return replace(row, categories=("jailbreak",))
        return Example("", text, "unsafe", Kind.INJECTION, lang=lang)

    def talk(self, *, harmful: bool) -> Example:
        """A talk in one text whose last turn says nothing of what it is about."""
        if harmful:
            lang, (first, hazards) = self._of(self.known.harmful)
        else:
            (lang, first), hazards = self._of(self.known.harmless), ()
        text = self._any("talk", "shapes").format(
            first=first, between=self._any("talk", "between"), last=self._any("talk", "last")
        )
        if harmful:
            return Example("", text, "unsafe", Kind.PROMPT, hazards=hazards, lang=lang)
        return Example("", text, "safe", Kind.HARD_BENIGN, lang=lang)

    def page(self, *, attacked: bool) -> Example:
        """A mail, a page, a table, a tool's result, with an order to its reader or a wish."""
        lang = self.rng.choice(sorted(self.known.sentences)) if self.rng.random() < 0.5 else "en"
        sentences = self.known.sentences[lang]
        lines = self.rng.choices(sentences, k=self.rng.choice([1, 2, 2, 3, 4, 6, 9]))
        place = self.rng.randrange(len(lines) + 1)
        if attacked:
            lines.insert(place, self._order(lang))
        elif self.rng.random() < 0.7:
            lines.insert(place, self._wish(lang))
        shape = self.rng.choice(sorted(_scenes()["page"]))
        text = _scenes()["page"][shape].format(
            body=" ".join(lines),
            title=self.rng.choice(sentences)[:60],
            who=self._slot("person"),
            whom=self._slot("person"),
        )
        return Example(
            "", text, "unsafe" if attacked else "safe", Kind.INJECTION, lang=lang,
            categories=("page",),
        )  # fmt: skip

    def comply(self) -> Example:
        """An answer that goes along with a harmful request, and says nothing that helps."""
        lang, (request, hazards) = self._of(self.known.harmful, 0.8)
        lines = [self._any("answer", "comply")]
        lines += self.rng.sample(_scenes()["answer"]["steps"], self.rng.randint(1, 5))
        text = self._acted(" ".join(lines))
        row = Example("", request, "unsafe", Kind.RESPONSE, text, hazards=hazards, lang=lang)
        return replace(row, refusal=False)

    def decline(self) -> Example:
        """A refusal, an explanation why, or advice."""
        lang, (request, _) = self._of(self.known.harmful, 0.8)
        lines = self.rng.sample(_scenes()["answer"]["decline"], self.rng.randint(1, 2))
        lines += self.rng.sample(_scenes()["answer"]["advise"], self.rng.randint(0, 4))
        text = self._acted(" ".join(lines))
        row = Example("", request, "safe", Kind.RESPONSE, text, lang=lang)
        return replace(row, refusal=True)

    def ordinary(self) -> Example:
        """An ordinary answer, to a request of any kind."""
        lang, request = self._of(self.known.harmless, 0.8)
        if self.rng.random() < 0.3:
            lang, (request, _) = self._of(self.known.harmful, 0.8)
        pool = _scenes()["answer"]["ordinary"] + _scenes()["answer"]["advise"]
        lines = self.rng.sample(pool, self.rng.randint(1, 4))
        lines += self.rng.choices(self.known.sentences["en"], k=self.rng.randint(0, 3))
        self.rng.shuffle(lines)
        row = Example("", request, "safe", Kind.RESPONSE, " ".join(lines), lang=lang)
        return replace(row, refusal=False)

    def abusive(self) -> Example:
        """An abusive answer, to a request of any kind, in the request's language if it can be."""
        lang, request = self._of(self.known.harmless, 0.6)
        if self.rng.random() < 0.5:
            lang, (request, _) = self._of(self.known.harmful, 0.6)
        pool = self.known.abuse.get(lang) or self.known.abuse["en"]
        answer = self.rng.choice(pool)
        if self.rng.random() < 0.4:
            answer = f"{self._any('answer', 'ordinary')} {answer}"
        row = Example("", request, "unsafe", Kind.RESPONSE, answer, hazards=("S10",), lang=lang)
        return replace(row, refusal=False)

    def story_of_abuse(self) -> Example:
        """Ordinary sentences with abuse among them."""
        lang, text = self._of(self._told(self.known.abuse), 0.2)
        return Example("", self._story(lang, text), "unsafe", Kind.TOXICITY, lang=lang)

    def story_of_request(self) -> Example:
        """Ordinary sentences with a harmful request among them."""
        lang, (text, hazards) = self._of(self._told(self.known.harmful), 0.2)
        told = self._story(lang, text)
        return Example("", told, "unsafe", Kind.PROMPT, hazards=hazards, lang=lang)

    def story_of_nothing(self) -> Example:
        """Ordinary sentences, with a harmless request or a fair post among them."""
        pool = self.known.harmless if self.rng.random() < 0.5 else self.known.fair
        lang, text = self._of(self._told(pool), 0.2)
        return Example("", self._story(lang, text), "safe", Kind.HARD_BENIGN, lang=lang)

    def thread(self, *, harmful: bool) -> Example:
        """Several fair posts, and an abusive one among them or none."""
        both = {lang: fair for lang, fair in self.known.fair.items() if lang in self.known.abuse}
        lang, _ = self._of(both, 0.4)
        lines = self.rng.choices(both[lang], k=self.rng.choice([2, 3, 4, 6]))
        if harmful:
            abuse = self.rng.choice(self.known.abuse[lang])
            lines[self.rng.randrange(len(lines))] = abuse
        text = self.rng.choice([" ", "\n", "\n\n"]).join(lines)
        return Example("", text, "unsafe" if harmful else "safe", Kind.TOXICITY, lang=lang)

    def _told(self, texts: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the texts of languages that there are ordinary sentences of."""
        return {lang: some for lang, some in texts.items() if lang in self.known.sentences}

    def _story(self, lang: str, text: str) -> str:
        lines = self.rng.choices(self.known.sentences[lang], k=self.rng.choice([1, 2, 3, 5, 8]))
        lines.insert(self.rng.randrange(len(lines) + 1), text)
        return self.rng.choice([" ", " ", "\n"]).join(lines)

    def _order(self, lang: str) -> str:
        own = [t for n, t in phrases().get(lang, {}).items() if n.startswith("inj-")]
        if own and lang != "en" and self.rng.random() < 0.8:
            return self.rng.choice(own)
        order = self._filled(self._any("order", "things"))
        if self.rng.random() < 0.2:
            order = self.rng.choice(own) if own else order
        return self._any("order", "wraps").replace("{order}", order)

    def _wish(self, lang: str) -> str:
        own = [t for n, t in phrases().get(lang, {}).items() if n.startswith("clean-")]
        if own and lang != "en" and self.rng.random() < 0.8:
            return self.rng.choice(own)
        return self._filled(self._any("order", "wishes"))

    def _acted(self, text: str) -> str:
        acts = [t for n, t in phrases()["en"].items() if n.startswith("act-")]
        while "{act}" in text:
            text = text.replace("{act}", self.rng.choice(acts), 1)
        return text

    def _filled(self, phrase: str) -> str:
        return filled(phrase, self._slot)

    def _slot(self, name: str) -> str:
        words = _scenes()["order"]["thing"] if name == "thing" else grammar()["slots"][name]
        return str(self.rng.choice(words))

    def _spoken(self, lang: str) -> str:
        return lang if lang in phrases() else "en"

    def _of(self, texts: dict[str, list[Any]], english: float = 0.5) -> tuple[str, Any]:
        """Choose a language, English as often as told, and a text of it."""
        others = sorted(lang for lang in texts if lang != "en" and len(texts[lang]) > 20)
        lang = "en" if self.rng.random() < english else self.rng.choice(others or ["en"])
        return lang, self.rng.choice(texts[lang])

    def _any(self, table: str, key: str) -> str:
        return str(self.rng.choice(_scenes()[table][key]))


@cache
def _scenes() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

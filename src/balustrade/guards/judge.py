"""A model that judges: by rules in plain language, or a guard model in its own format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import exp
from string import Template, ascii_uppercase
from typing import Annotated, NamedTuple

from msgspec import Meta

from balustrade.core.call import Flow, Texts, generate
from balustrade.core.content import Content, Text
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Count, Probability, Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.guards.ask import Plan, ask, worst
from balustrade.guards.formats import FORMATS
from balustrade.guards.formats.form import Definition, Generative
from balustrade.guards.formats.recognise import HUB, format_of
from balustrade.text.quote import marked
from balustrade.text.windows import windows

NONE = "A"
"""The letter for: no rule is broken."""

MOST_RULES = 20
OVERLAP = 200
"""Characters that neighbouring windows of a long text share."""


class Criterion(Spec, frozen=True):
    """One rule in plain language."""

    category: Annotated[str, Meta(min_length=1)]
    """What a finding says if the rule is broken."""

    description: Annotated[str, Meta(min_length=1)]
    """What breaks it, as one would tell a person."""


class Example(Spec, frozen=True):
    """A message with the right answer, shown to the model."""

    text: str
    category: str = ""
    """The category of the rule it breaks; empty if it breaks none."""


class Judge(Spec, frozen=True):
    """Ask a model which rule a message breaks; the model may only name one, or none.

    Where the server gives log-probabilities of the answer's first token, scores are the
    probabilities of the letters, made to sum to one; else the score is one for the rule named. A
    rule's score is the probability that it is the one that is broken most clearly.

    What is judged stands between marks that no text can hold, as they are made from a digest of
    the text. An answer to a request is judged together with the request.

    A guard model such as Llama Guard is asked in the format it was trained on instead, and its
    categories are reported by our names. `hub:NAME` and `hub:PATH` are recognised; behind a server
    the format is named. Models that judge by definitions take rules as theirs.

    Fails: if the model does not answer, or answers with anything but one of the letters or labels.
    """

    model: str
    rules: Annotated[tuple[Criterion, ...], Meta(min_length=1, max_length=MOST_RULES)] = ()
    """What is judged; may be left out where the model has a format of its own."""

    examples: tuple[Example, ...] = ()
    name: str = "judge"
    window: Count = 12_000
    """Characters judged at once; longer text is judged in overlapping windows."""

    streamed: bool = True
    """Whether answers are judged while they are streamed; if not, a guard that follows streams,
    such as `scm`, has to. Whole answers are judged either way."""

    format: str = ""
    """How a guard model is asked, such as `llama-guard-3`; if empty, told from a `hub:` name."""

    risks: tuple[str, ...] = ()
    """What a guard model is asked about, by its own names, where it is asked one by one."""

    least: Probability = 0.5
    """The probability that a guard model's labels have together, or its answer is an error."""

    def __post_init__(self) -> None:
        self._check_format()
        categories = [rule.category for rule in self.rules]
        for category in categories:
            if categories.count(category) > 1:
                raise ValueError(f"expected one rule for each category, found two {category!r}")
        for example in self.examples:
            if example.category and example.category not in categories:
                raise ValueError(f"an example breaks {example.category!r}, which no rule names")
        if self.window <= 2 * OVERLAP:
            raise ValueError(f"expected window > {2 * OVERLAP}, found {self.window}")

    @property
    def judges(self) -> frozenset[str]:
        """Text and the arguments of tool calls."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """A model's time."""
        return Latency.MODEL

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge all contents with one call, or one for each step of a format."""
        form = self._form
        if form is not None:
            own = tuple(Definition(rule.category, rule.description) for rule in self.rules)
            plan = Plan(self.model, self.name, form, self.risks, own, self.window, self.least)
            return (yield from ask(plan, batch))
        return (yield from self._by_rules(batch))

    def _by_rules(self, batch: Sequence[Content]) -> Flow[list[Verdict]]:
        questions = [q for slot, c in enumerate(batch) for q in self._questions(slot, c)]
        findings: list[list[Finding]] = [[] for _ in batch]
        errors = [""] * len(batch)
        if questions:
            reply = yield from generate(
                self.model,
                [question.prompt for question in questions],
                system=_system(self.rules, self.examples),
                choices=self._letters,
                logprobs=MOST_RULES,
                max_tokens=1,
            )
            for number, question in enumerate(questions):
                scores = self._scores(reply, number)
                if scores is None:
                    errors[question.slot] = "the model's answer is none of its choices"
                else:
                    findings[question.slot] += self._findings(scores, question.span)
        return [
            Verdict(self.name, () if error else worst(found), error)
            for found, error in zip(findings, errors, strict=True)
        ]

    @property
    def _form(self) -> Generative | None:
        """How a guard model is asked; None for a model that is asked by rules."""
        form = format_of(self.model, self.format)
        return form if isinstance(form, Generative) else None

    def _check_format(self) -> None:
        form = format_of(self.model, self.format)
        if form is not None and not isinstance(form, Generative):
            raise ValueError(f"model {self.model!r} gives scores; expected use = 'classifier'")
        if form is None and not self.rules:
            known = ", ".join(FORMATS)
            what = "is not recognised" if self.model.startswith(HUB) else "needs rules"
            raise ValueError(f"model {self.model!r} {what}; give rules, or a format of: {known}")
        unknown = set(self.risks) - set(form.risks if form else ())
        if unknown:
            known = ", ".join(form.risks if form else ()) or "none"
            raise ValueError(f"no risk is named {min(unknown)!r}; the model's risks: {known}")
        if form is not None and (self.examples or (self.rules and not form.risks)):
            raise ValueError(
                f"model {self.model!r} judges by its own categories, not by rules and examples"
            )

    @property
    def _letters(self) -> tuple[str, ...]:
        return tuple(ascii_uppercase[: len(self.rules) + 1])

    def _questions(self, slot: int, content: Content) -> Iterator[_Question]:
        text = content.text
        if not text.strip():
            return
        is_plain = len(content.parts) == 1 and isinstance(content.parts[0], Text)
        for start, end in windows(text, self.window, OVERLAP):
            is_whole = end - start == len(text)
            span = Span(0, start, end) if is_plain and not is_whole else None
            yield _Question(slot, _prompt(content, text[start:end]), span)

    def _scores(self, reply: Texts, number: int) -> Mapping[str, float] | None:
        """Return the probability of each letter, None if the answer is no letter."""
        answer = reply.texts[number].strip()
        if answer not in self._letters:
            return None
        odds = dict.fromkeys(self._letters, 0.0)
        given = reply.logprobs[number] if reply.logprobs else {}
        for token, logprob in given.items():
            letter = token.strip()
            if letter in odds:
                odds[letter] += exp(min(logprob, 0.0))
        total = sum(odds.values())
        if not total:
            return {answer: 1.0}
        return {letter: odd / total for letter, odd in odds.items()}

    def _findings(self, scores: Mapping[str, float], span: Span | None) -> Iterator[Finding]:
        for letter, rule in zip(self._letters[1:], self.rules, strict=True):
            score = scores.get(letter, 0.0)
            if score > 0:
                yield Finding(rule.category, min(score, 1.0), span)


class _Question(NamedTuple):
    slot: int
    prompt: str
    span: Span | None


def _prompt(content: Content, text: str) -> str:
    request = content.request
    quoted = marked(f"message from {content.role.value}", text).text
    if not request:
        return f"{quoted}\n\nWhich letter?"
    asked = marked("message from user", request[-4000:]).text
    return f"It answers this request, quoted alike:\n\n{asked}\n\n{quoted}\n\nWhich letter?"


@cache
def _system(rules: tuple[Criterion, ...], examples: tuple[Example, ...]) -> str:
    letters = dict(zip((rule.category for rule in rules), ascii_uppercase[1:], strict=False))
    lines = [f"{NONE}: the message breaks none of the rules below"]
    lines += [f"{letters[rule.category]}: {rule.description}" for rule in rules]
    source = (files("balustrade.guards") / "judge.txt").read_text("utf-8")
    shown = [
        f"{json.dumps(example.text, ensure_ascii=False)} is {letters.get(example.category, NONE)}"
        for example in examples
    ]
    text = Template(source).substitute(rules="\n".join(lines)).strip()
    return "\n\n".join([text, "For example:\n" + "\n".join(shown)] if shown else [text])

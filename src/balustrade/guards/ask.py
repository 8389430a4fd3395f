"""Ask a guard model in its own format: prompts out, labels weighed, categories named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import NamedTuple

from balustrade.core.call import Call, Flow, Generate, Reply, Texts, unexpected
from balustrade.core.content import Content, Role, Text
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.guards.formats.form import (
    Choose,
    Definition,
    Exchange,
    Generative,
    Label,
    Say,
    Step,
    defuse,
)
from balustrade.text.windows import windows

OVERLAP = 200
"""Characters that neighbouring windows of a long text share."""
REQUEST = 4_000
"""Characters of a request that an answer is judged with: the last."""
ALTERNATIVES = 20
"""Alternatives of a label's first token that are asked for."""
LABEL_TOKENS = 4
"""Tokens of a label, where a server gives the text alone."""
LINE_TOKENS = 32
"""Tokens of a line that lists categories."""
BLANKS = 2
"""How often a model may break the line before it answers."""
NO_LABEL = "the model's answer is none of its labels"


class Plan(NamedTuple):
    """Whom to ask, and for what."""

    model: str
    name: str
    form: Generative
    risks: tuple[str, ...] = ()
    own: tuple[Definition, ...] = ()
    window: int = 12_000
    least: float = 0.5
    """The probability that the labels must have together; below it the answer is none of them."""


def ask(plan: Plan, batch: Sequence[Content]) -> Flow[list[Verdict]]:
    """Judge each content; all prompts that are at the same step travel in one call.

    Where log-probabilities are given, a label has those of all first tokens that begin it alone,
    and the score is the share of the labels that speak for harm. Without them the label written
    counts whole. Categories are asked for where harm is likelier than not, and have its score.
    """
    talks = [talk for slot, content in enumerate(batch) for talk in _talks(plan, slot, content)]
    findings: list[list[Finding]] = [[] for _ in batch]
    errors = [""] * len(batch)
    waiting = list(talks)
    while waiting:
        choosing = [talk for talk in waiting if isinstance(talk.step, Choose)]
        saying = [talk for talk in waiting if isinstance(talk.step, Say)]
        replies = yield _calls(plan, choosing, saying)
        answers = iter(replies)
        for talk, said, odds in _paired(choosing, answers):
            talk.choose(plan, said, odds)
        for talk, said, _ in _paired(saying, answers):
            talk.say(plan, said)
        waiting = [talk for talk in waiting if not talk.is_over]
    for talk in talks:
        errors[talk.slot] = errors[talk.slot] or talk.error
        findings[talk.slot] += talk.findings
    return [
        Verdict(plan.name, () if error else worst(found), error)
        for found, error in zip(findings, errors, strict=True)
    ]


def worst(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the strongest finding of each category: the worst window's."""
    best: dict[str, Finding] = {}
    for finding in findings:
        known = best.get(finding.category)
        if known is None or finding.score > known.score:
            best[finding.category] = finding
    return tuple(best.values())


def weigh(labels: Sequence[Label], odds: Mapping[str, float]) -> dict[str, float]:
    """Return the probability of each label: of all tokens that begin it, and no label unlike it."""
    weights = {label.text: 0.0 for label in labels}
    for token, logprob in odds.items():
        label = _begun(labels, token)
        if label is not None:
            weights[label.text] += exp(min(logprob, 0.0))
    return weights


@dataclass(slots=True)
class _Talk:
    """One prompt, and how far its model has answered."""

    slot: int
    span: Span | None
    prompt: str
    steps: tuple[Step, ...]
    place: int = 0
    blanks: int = 0
    harm: float = 0.0
    error: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def step(self) -> Step:
        return self.steps[self.place]

    @property
    def is_over(self) -> bool:
        return bool(self.error) or self.place >= len(self.steps)

    @property
    def asked(self) -> str:
        return self.prompt + self.step.lead

    def choose(self, plan: Plan, said: str, odds: Mapping[str, float]) -> None:
        """Take the model's label, or give it the line break it wants to begin with."""
        labels = plan.form.labels
        if odds:
            blanks = [token for token in odds if not token.strip()]
            blank = max(blanks, key=lambda token: odds[token], default="")
            if blank and exp(odds[blank]) >= 0.5 and self.blanks < BLANKS:
                self.prompt, self.blanks = self.prompt + blank, self.blanks + 1
                return
            weights = weigh(labels, odds)
        else:
            weights = _written(labels, said)
        total = sum(weights.values())
        if total < (plan.least if odds else 1.0) or not total:
            self.error = NO_LABEL
            return
        likeliest = max(labels, key=lambda label: weights[label.text])
        harm = sum(weights[label.text] * label.harm for label in labels) / total
        self.harm = min(harm, 1.0)
        step = self.step
        if isinstance(step, Choose) and step.finds:
            self.findings += (Finding(step.finds, self.harm, self.span),)
        gap = " " if self.asked.endswith((":", "]")) else ""
        self._go_on(f"{self.asked}{gap}{likeliest.text}")

    def say(self, plan: Plan, said: str) -> None:
        """Take the line that the model has written."""
        line = said.lstrip(" \n").split("\n")[0]
        step = self.step
        if isinstance(step, Say) and step.names:
            known = {finding.category for finding in self.findings}
            self.findings += tuple(
                Finding(name, self.harm, self.span)
                for name in plan.form.named(line)
                if name not in known
            )
        gap = " " if self.asked.endswith(":") else ""
        self._go_on(f"{self.asked}{gap}{line}")

    def _go_on(self, prompt: str) -> None:
        """Go to the next step that must be asked."""
        self.prompt, self.place, self.blanks = prompt, self.place + 1, 0
        while not self.is_over and isinstance(self.step, Say) and self.harm < 0.5:
            self.prompt += self.step.lead + self.step.otherwise
            self.place += 1


def _talks(plan: Plan, slot: int, content: Content) -> Iterator[_Talk]:
    text = content.text
    if not text.strip():
        return
    is_plain = len(content.parts) == 1 and isinstance(content.parts[0], Text)
    for start, end in windows(text, plan.window, OVERLAP):
        is_whole = end - start == len(text)
        span = Span(0, start, end) if is_plain and not is_whole else None
        exchange = exchange_of(content, text[start:end])
        for each in plan.form.asks(exchange, plan.risks, plan.own):
            yield _Talk(slot, span, each.prompt, each.steps)


def exchange_of(content: Content, text: str) -> Exchange:
    """Return what is judged of a content, or of a window of it, without marks of any format.

    What an assistant says is a response to what was asked; all else, also what a tool or a
    document says, is judged as a request: it is what the model will read.
    """
    if content.role is not Role.ASSISTANT:
        return Exchange(defuse(text))
    return Exchange(defuse(content.request[-REQUEST:]), defuse(text))


def _calls(plan: Plan, choosing: Sequence[_Talk], saying: Sequence[_Talk]) -> tuple[Call, ...]:
    labels = tuple(label.text for label in plan.form.labels)
    chosen = Generate(
        plan.model,
        tuple(talk.asked for talk in choosing),
        choices=labels,
        logprobs=ALTERNATIVES,
        max_tokens=LABEL_TOKENS,
        raw=True,
    )
    said = Generate(
        plan.model, tuple(talk.asked for talk in saying), max_tokens=LINE_TOKENS, raw=True
    )
    return tuple(call for call in (chosen, said) if call.prompts)


class _Answer(NamedTuple):
    talk: _Talk
    said: str
    odds: Mapping[str, float]


def _paired(talks: Sequence[_Talk], replies: Iterator[Reply]) -> Iterator[_Answer]:
    """Yield each talk with its answer, none if none were asked."""
    if not talks:
        return
    reply = next(replies)
    if not isinstance(reply, Texts) or len(reply.texts) != len(talks):
        raise unexpected(reply)
    odds = reply.logprobs or ({},) * len(talks)
    for talk, said, each in zip(talks, reply.texts, odds, strict=True):
        yield _Answer(talk, said, each)


def _begun(labels: Sequence[Label], token: str) -> Label | None:
    """Return the label that a token begins; of several, the first if all mean the same."""
    begin = token.strip(" \t\n\"'").casefold()
    found = [label for label in labels if label.text.casefold().startswith(begin)]
    if not begin or not found or len({label.harm for label in found}) > 1:
        return None
    return found[0]


def _written(labels: Sequence[Label], said: str) -> dict[str, float]:
    """Return one for the label that an answer begins with, of whole words; else nothing."""
    text = said.strip(" \t\n\"'").casefold()
    weights = dict.fromkeys((label.text for label in labels), 0.0)
    for label in labels:
        rest = text.removeprefix(label.text.casefold())
        if rest != text and not rest[:1].isalnum():
            weights[label.text] = 1.0
    return weights

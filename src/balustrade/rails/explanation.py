"""Say of a decision which words carried the finding behind it, and what known texts are like it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.call import Flow, classify, compute
from balustrade.core.content import Content, words
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import BackendError, GuardError
from balustrade.core.verdict import Finding, Span
from balustrade.flow.gather import gather
from balustrade.guards.attribute import Attribution, Weight, attribute
from balustrade.guards.classifier import Classifier
from balustrade.guards.neighbours import Known, Near
from balustrade.policy.model import Policy
from balustrade.rails.rail import Rail
from balustrade.shipped import described
from balustrade.text.views import View, views
from balustrade.text.windows import windows

WINDOWS = 64
"""Windows among which the worst is looked for; a finding with a place has one or two."""

EXAMPLES = 3
"""Known examples that are named."""

DECIDER = {"cascade": "encoder", "ensemble": "encoder"}
"""Who is asked about parts of a text instead of whom: a cascade would answer for some by one tier,
for some by another, and what a word adds would be what the tiers differ by."""


class Carrier(Struct, frozen=True):
    """Words that carried a finding, or spoke against it; never the words themselves."""

    span: Span
    weight: float
    """What they add, in logits; below zero if they speak against it."""

    share: float
    """Their part of all that speaks for it, in [0, 1]; 0 if they speak against it."""


class Explanation(Struct, frozen=True):
    """What stands behind the finding that counted most."""

    guard: str
    category: str
    score: float
    """The finding's."""

    model: str = ""
    words: tuple[Carrier, ...] = ()
    """The heaviest first; those of the window with the highest score."""

    near: Near | None = None
    error: str = ""
    """What could not be said, and why; whatever could be is said all the same."""


def explanation(
    rail: Rail, content: Content, decision: Decision, known: Known | None = None
) -> Flow[Explanation | None]:
    """Explain the finding that counted most among those that a model of labels made.

    That is the surest of those on which the gravest rule fired, or of those some rule asks for if
    none fired. Only the window it was found in is explained, so the cost does not grow with the
    content. None if there is no such finding: others name the place they found, which says it.

    Fails: into `error`, and never otherwise. It is made after the decision, from it, and nothing
    in it reaches back: a verdict is the same whether its explanation could be made or not.

    Args:
        rail: What decided.
        content: What was judged, as it came.
        decision: What was decided.
        known: Examples to name the nearest of; none are named if absent.
    """
    chosen = _chosen(rail, decision)
    if chosen is None:
        return None
    blank = Explanation(chosen.guard, chosen.finding.category, chosen.finding.score)
    [place] = yield from gather([_located(content, chosen)])
    if isinstance(place, GuardError):
        return replace(blank, error=str(place))
    text, category = place.reading.text, chosen.finding.category
    decider = DECIDER.get(place.model, place.model)
    flows: list[Flow[Attribution | Near]] = [
        attribute(decider, text, category, place.reading.context)
    ]
    if known is not None:
        flows.append(known.nearest(place.model, text, EXAMPLES))
    answers = yield from gather(flows)
    weights = next((each.weights for each in answers if isinstance(each, Attribution)), ())
    return replace(
        blank,
        model=place.model,
        words=_carriers(place, weights),
        near=next((each for each in answers if isinstance(each, Near)), None),
        error="; ".join(str(each) for each in answers if isinstance(each, GuardError)),
    )


class _Chosen(NamedTuple):
    """A finding, the name of the guard it is from, and what may have made it."""

    guard: str
    finding: Finding
    classifiers: tuple[Classifier, ...]


class _Reading(NamedTuple):
    """One window of one reading of a text, as a classifier judges it."""

    view: View
    start: int
    end: int
    context: str

    @property
    def text(self) -> str:
        return self.view.text[self.start : self.end]


class _Source(NamedTuple):
    """A text, and for each part of a content in it: where it begins here, there, and its length."""

    text: str
    parts: tuple[tuple[int, Span], ...]


class _Place(NamedTuple):
    model: str
    reading: _Reading
    score: float
    source: _Source


def _chosen(rail: Rail, decision: Decision) -> _Chosen | None:
    able = {guard.name: tuple(_classifiers(guard)) for guard in rail.guards}
    found: list[tuple[int, float, _Chosen]] = []
    for verdict in decision.verdicts:
        for finding in verdict.findings:
            capable = tuple(c for c in able.get(verdict.guard, ()) if _may_say(c, finding.category))
            if capable:
                weight = _weight(rail.policy, verdict.guard, finding)
                found.append((weight, finding.score, _Chosen(verdict.guard, finding, capable)))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _weight(policy: Policy, guard: str, finding: Finding) -> int:
    """Return the gravest effect of the rules that fire; if none does, less than any effect."""
    rules = policy.rules_for(finding.category)
    effects = [rule.effect for rule in rules if rule.fires(guard, finding)]
    return max(effects, default=Action.ALLOW - (1 if rules else 2))


def _classifiers(guard: object) -> Iterator[Classifier]:
    """Yield a guard that is a classifier, or the classifiers inside it."""
    if isinstance(guard, Classifier):
        yield guard
        return
    inner: Iterable[object] = guard if isinstance(guard, tuple) else ()
    if isinstance(guard, Struct):
        inner = (getattr(guard, field) for field in guard.__struct_fields__)
    for each in inner:
        yield from _classifiers(each)


def _may_say(classifier: Classifier, category: str) -> bool:
    known = described(classifier.model)
    return known is None or category in known.labels


def _located(content: Content, chosen: _Chosen) -> Flow[_Place]:
    """Find the window that was judged worst, and which model judged it so."""
    source = _source(content, chosen.finding.span)
    flows = [_worst(content, source, chosen.finding.category, c) for c in chosen.classifiers]
    answers = yield from gather(flows)
    places = [each for each in answers if isinstance(each, _Place)]
    if not places:
        raise next(each for each in answers if isinstance(each, GuardError))
    return min(places, key=lambda place: abs(place.score - chosen.finding.score))


def _worst(content: Content, source: _Source, label: str, classifier: Classifier) -> Flow[_Place]:
    longest = WINDOWS * classifier.window
    text = source.text[:longest]
    read = [View(text)]
    if classifier.normalise:
        read = yield from compute(views, text, work=len(text))
    context = classifier.context(content)
    readings = [
        _Reading(view, start, end, context)
        for view in read
        for start, end in windows(view.text, classifier.window, classifier.overlap)
        if view.text[start:end]
    ][:WINDOWS]
    if not readings:
        raise GuardError("there are no words where the finding is")
    contexts = [context] * len(readings) if context else ()
    reply = yield from classify(classifier.model, [each.text for each in readings], contexts)
    rows = reply.rows()
    if len(rows) != len(readings) or label not in reply.labels:
        raise BackendError(f"model {classifier.model!r} does not say {label!r} of every text")
    column = reply.labels.index(label)
    scores = [row[column] for row in rows]
    worst = scores.index(max(scores))
    return _Place(classifier.model, readings[worst], scores[worst], source)


def _source(content: Content, span: Span | None) -> _Source:
    """Return the text a finding is about, and where in the content it stands."""
    if span is not None:
        text = words(content.parts[span.part])[span.start : span.end]
        return _Source(text, ((0, span),))
    parts: list[tuple[int, Span]] = []
    place = 0
    for number, part in enumerate(content.parts):
        size = len(words(part))
        if size:
            parts.append((place, Span(number, 0, size)))
            # Parts are joined by a newline.
            place += size + 1
    return _Source(content.text, tuple(parts))


def _carriers(place: _Place, weights: Sequence[Weight]) -> tuple[Carrier, ...]:
    """Return what carried the score as spans of the content, the heaviest first.

    What was decoded stands where it was decoded from, its words as one.
    """
    view, first = place.reading.view, place.reading.start
    found: dict[Span, float] = {}
    for each in weights:
        start, end = view.original(first + each.start, first + each.end)
        for span in _spans(place.source, start, end):
            share = (span.end - span.start) / (end - start)
            found[span] = found.get(span, 0.0) + each.weight * share
    total = sum(weight for weight in found.values() if weight > 0)
    return tuple(
        Carrier(span, weight, weight / total if weight > 0 else 0.0)
        for span, weight in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    )


def _spans(source: _Source, start: int, end: int) -> Iterator[Span]:
    """Yield what of a stretch of the text stands in each part."""
    for place, span in source.parts:
        first = max(start, place)
        last = min(end, place + span.end - span.start)
        if first < last:
            yield Span(span.part, span.start + first - place, span.start + last - place)

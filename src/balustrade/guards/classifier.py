"""Judge text by any model with a score for each label: ours, or one of a server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from balustrade.core.call import LIGHT, Flow, Vectors, classify, compute
from balustrade.core.content import Content, Role, words
from balustrade.core.errors import BackendError, GuardError
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Count, Probability, Spec
from balustrade.core.taxonomy import (
    HARM,
    HAZARDS,
    INJECTION,
    MODERATE,
    REFUSAL,
    RESPONSE_HARM,
    SEVERE,
    TOXICITY,
)
from balustrade.core.verdict import Finding, Severity, Span, Verdict
from balustrade.flow.gather import gather
from balustrade.guards.formats.by_label import BY_LABEL
from balustrade.guards.formats.form import Exchange, Scored
from balustrade.guards.formats.recognise import HUB, format_of
from balustrade.shipped import SHIPPED, described
from balustrade.text.normalise import normalise
from balustrade.text.views import View, disguise, views
from balustrade.text.windows import windows

ASKED = (HARM, *(hazard.name for hazard in HAZARDS), TOXICITY)
"""What a request is judged for."""

HEADS = {
    Role.SYSTEM: ASKED,
    Role.USER: ASKED,
    Role.ASSISTANT: (RESPONSE_HARM,),
    Role.TOOL: (INJECTION,),
    Role.DOCUMENT: (INJECTION,),
}
"""What content is judged for unless the guard's own `heads` say otherwise, by who speaks."""

ASIDE = frozenset({REFUSAL, MODERATE, SEVERE})
"""Labels that are findings only where a guard's own `heads` name them."""

OF_ANSWERS = frozenset({RESPONSE_HARM, REFUSAL})
"""Labels of our models that are said of an answer to a request; all others of a text alone."""

FOREIGN = frozenset({Role.TOOL, Role.DOCUMENT})
"""Who brings in text that nobody vouches for: a cascade does not let its first tier clear it."""

REQUEST = 2000
"""Characters of a request that an answer is judged with, as in training."""


class Piece(NamedTuple):
    """A stretch of a content that is judged at once."""

    content: int
    text: str
    context: str
    span: Span | None
    how: tuple[str, ...] = ()
    """What was undone to read it."""


class Found(NamedTuple):
    """The highest score of a label, where it was found, and all else that was said there."""

    score: float
    piece: Piece
    row: Sequence[float]


class Read(NamedTuple):
    """What a model said of a batch: a row of scores for each piece."""

    pieces: Sequence[Piece]
    rows: Sequence[Sequence[float]]
    labels: tuple[str, ...]


class Classifier(Spec, frozen=True):
    """Report the model's probability for each label, the worst window's, and where that is.

    An answer is judged together with the request it answers. Long text is judged in overlapping
    windows, text in several parts also as a whole, so that harm cannot hide between parts. Where
    the model grades harm, a finding has the severity of its window; an injection has none.

    Fails: if the model does not answer, or not for every text; on texts too long to be read.
    """

    model: str = "static"
    heads: tuple[str, ...] = ()
    """Labels that are reported; if none are named, those that fit who speaks."""

    name: str = "classifier"
    floor: Probability = 0.01
    """Scores below this are not reported; which scores count is for the policy to say."""

    window: Count = 1000
    """Characters judged at once. Of any model: the encoder cuts by tokens itself, but a finding is
    placed no closer than this, and more calm text around it may hide it from the static tier."""

    overlap: int = 200
    """Characters that neighbouring windows share."""

    normalise: bool = True
    """Whether disguised letters are folded, and decoded copies of the text judged as well."""

    streamed: bool = True
    """Whether answers are judged while they are streamed; if not, a guard that follows streams,
    such as `scm`, has to. Whole answers are judged either way."""

    format: str = ""
    """How another classifier is given its text and its labels are read, such as `duoguard`; if
    empty, told from a `hub:` name, whose labels are read by what they say if it is not known."""

    def __post_init__(self) -> None:
        form = format_of(self.model, self.format)
        if form is not None and not isinstance(form, Scored):
            raise ValueError(f"model {self.model!r} writes its judgement; expected use = 'judge'")
        missing = set(self.heads) - (self._form.reports if self._form else set(self.heads))
        if missing:
            known = ", ".join(sorted(self._form.reports)) if self._form else ""
            raise ValueError(f"model {self.model!r} has no {min(missing)!r}; it has: {known}")

    @property
    def judges(self) -> frozenset[str]:
        """Text and the arguments of tool calls."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """Microseconds for the static tier, milliseconds for the others, else a model's time."""
        if self.model == "static":
            return Latency.MICROSECONDS
        return Latency.MILLISECONDS if self.model in SHIPPED else Latency.MODEL

    def threshold_for(self, category: str, false_alarms: float) -> float | None:
        """Return from which score on at most this share of harmless texts is flagged.

        None if the model has no such head, or no calibration is known.

        Raises:
            PolicyError: So low a rate was not measured.
        """
        known = described(self.model)
        if known is None or category not in known.labels:
            return None
        return known.threshold_for(category, false_alarms)

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge each content by one call of the model for all of them."""
        read = yield from self.read(batch)
        return self._verdicts(batch, read)

    def read(self, batch: Sequence[Content], /) -> Flow[Read]:
        """Return what the model says of each piece; for guards that judge by more than scores."""
        size = sum(len(content.text) for content in batch)
        if size <= LIGHT:
            pieces = self._pieces(batch)
        else:
            pieces = yield from compute(self._pieces, batch, work=size)
        if not pieces:
            return Read((), (), ())
        form = self._form
        if form is not None:
            pieces = [_formed(form, piece, batch[piece.content].role) for piece in pieces]
        if not self._is_tiered:
            reply = yield from self._ask(pieces)
            return self._read_of(pieces, reply)
        foreign = [batch[piece.content].role in FOREIGN for piece in pieces]
        own = [piece for piece, is_foreign in zip(pieces, foreign, strict=True) if not is_foreign]
        others = [piece for piece, is_foreign in zip(pieces, foreign, strict=True) if is_foreign]
        if not others or not own:
            reply = yield from self._ask(pieces, careful=not own)
            return self._read_of(pieces, reply)
        replies = yield from gather([self._ask(own), self._ask(others, careful=True)])
        rows = [row for reply in replies for row in _certain(reply).rows()]
        return self._read_of(own + others, Vectors.of(rows, _certain(replies[0]).labels))

    def _ask(self, pieces: Sequence[Piece], *, careful: bool = False) -> Flow[Vectors]:
        form, contexts = self._form, [piece.context for piece in pieces]
        return classify(
            self.model,
            [piece.text for piece in pieces],
            contexts if any(contexts) else (),
            apart=form is not None and form.apart,
            careful=careful,
        )

    @property
    def _is_tiered(self) -> bool:
        """Whether the model has a first tier that settles what it is sure of."""
        known = described(self.model)
        return known is not None and known.gate is not None and any(known.gate.clear.values())

    def context(self, content: Content) -> str:
        """Return the request that a content is judged with; empty if it is judged alone."""
        if content.role is not Role.ASSISTANT:
            return ""
        if self.model in SHIPPED and self.heads and OF_ANSWERS.isdisjoint(self.heads):
            return ""
        asked = content.request[: REQUEST * 2]
        return (normalise(asked).text if self.normalise else asked)[:REQUEST]

    @property
    def _form(self) -> Scored | None:
        """How another classifier is used; None for one with our own labels."""
        form = format_of(self.model, self.format)
        if isinstance(form, Scored):
            return form
        return BY_LABEL if self.model.startswith(HUB) else None

    def _pieces(self, batch: Sequence[Content]) -> list[Piece]:
        return [
            piece for number, content in enumerate(batch) for piece in self._cut(number, content)
        ]

    def _cut(self, number: int, content: Content) -> Iterator[Piece]:
        """Cut one content into what is judged at once."""
        context = self.context(content)
        spoken = [(place, text) for place, text in enumerate(map(words, content.parts)) if text]
        for place, text in spoken:
            for view in self._read(text):
                for start, end, how in self._windows(view):
                    whole = end - start == len(view.text) and len(content.parts) == 1
                    span = None if whole else Span(place, *view.original(start, end))
                    yield Piece(number, view.text[start:end], context, span, how)
        if len(spoken) > 1:
            for view in self._read(content.text):
                for start, end, how in self._windows(view):
                    yield Piece(number, view.text[start:end], context, None, how)

    def _windows(self, view: View) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """Cut a reading; of a further one only what it reads otherwise is judged again."""
        for start, end in windows(view.text, self.window, self.overlap):
            how = view.through(start, end)
            if how or not view.how:
                yield start, end, how

    def _read(self, text: str) -> list[View]:
        """Return the readings of a text that hold anything: invisible characters alone do not."""
        return [view for view in views(text) if view.text] if self.normalise else [View(text)]

    def _read_of(self, pieces: Sequence[Piece], reply: Vectors) -> Read:
        rows = reply.rows()
        if len(rows) != len(pieces) or len(reply.labels) != reply.columns:
            raise BackendError(
                f"model {self.model!r} gave {len(rows)} rows of {reply.columns} scores with "
                f"{len(reply.labels)} labels for {len(pieces)} texts"
            )
        return Read(pieces, rows, reply.labels)

    def _verdicts(self, batch: Sequence[Content], read: Read) -> list[Verdict]:
        """Keep the worst piece's score for each label that fits who speaks."""
        worst: list[dict[str, Found]] = [{} for _ in batch]
        named = self.reader({batch[piece.content].role for piece in read.pieces}, read.labels)
        grades = graded_by(read.labels)
        for piece, row in zip(read.pieces, read.rows, strict=True):
            found = worst[piece.content]
            for label, score in named(batch[piece.content].role, row):
                if score >= self.floor and (label not in found or score > found[label].score):
                    found[label] = Found(score, piece, row)
        return [
            Verdict(
                self.name,
                tuple(
                    Finding(
                        label,
                        each.score,
                        each.piece.span,
                        _severity(label, each.row, grades) if grades else None,
                        disguise(each.piece.how),
                    )
                    for label, each in found.items()
                ),
            )
            for found in worst
        ]

    def reader(
        self, roles: Collection[Role], labels: tuple[str, ...]
    ) -> Callable[[Role, Sequence[float]], Iterable[tuple[str, float]]]:
        """Return what names the scores of a row that are reported for a role."""
        form, heads = self._form, self.heads
        if form is not None:
            return lambda role, row: (
                (name, min(max(score, 0.0), 1.0))
                for name, score in form.findings(role, labels, row).items()
                if not heads or name in heads
            )
        wanted = {role: self._columns(role, labels) for role in roles}
        return lambda role, row: ((label, row[column]) for column, label in wanted[role])

    def _columns(self, role: Role, labels: tuple[str, ...]) -> list[tuple[int, str]]:
        """Return the columns to report and their labels; all findings if none fits the role."""
        heads = self.heads or HEADS[role]
        chosen = [(column, label) for column, label in enumerate(labels) if label in heads]
        if self.heads and len(chosen) < len(self.heads):
            missing = sorted(set(self.heads) - set(labels))
            raise GuardError(
                f"guard {self.name!r}: model {self.model!r} has no label {missing[0]!r}"
            )
        return chosen or [each for each in enumerate(labels) if each[1] not in ASIDE]


def graded_by(labels: Sequence[str]) -> tuple[int, int] | None:
    """Return the columns that say how severe a text is; None for a model that does not grade."""
    if MODERATE not in labels or SEVERE not in labels:
        return None
    return labels.index(MODERATE), labels.index(SEVERE)


def is_graded(label: str) -> bool:
    """Whether how severe a text is says how severe a finding of this label is."""
    return label != INJECTION and label not in ASIDE


def _severity(label: str, row: Sequence[float], grades: tuple[int, int]) -> Severity | None:
    """Return what is likelier than not; models learn it from harm and abuse alone."""
    if not is_graded(label):
        return None
    moderate, severe = (row[column] >= 0.5 for column in grades)
    return Severity.SEVERE if severe else Severity.MODERATE if moderate else Severity.MINOR


def _certain(reply: Vectors | GuardError) -> Vectors:
    if isinstance(reply, GuardError):
        raise reply
    return reply


def _formed(form: Scored, piece: Piece, role: Role) -> Piece:
    """Return the piece as the model is given it."""
    if role is not Role.ASSISTANT:
        return piece._replace(text=form.text(Exchange(piece.text)))
    exchange = Exchange(piece.context, piece.text)
    return piece._replace(text=form.text(exchange), context=piece.context if form.pairs else "")

"""Grade what a classifier finds: how surely it is at least minor, moderate, severe.

The text part of Beaver-Guard-V (Ji et al. 2025, Safe RLHF-V, arXiv 2503.17682, section 4), which
names a category and one of three severities of a request or an answer. Its weights are not public;
the shipped encoder and cascade have heads for two cumulative grades, learnt from harmful texts
alone: P(at least moderate | harmful) and P(severe | harmful).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from balustrade.core.call import Flow
from balustrade.core.content import Content
from balustrade.core.errors import GuardError
from balustrade.core.guard import Latency
from balustrade.core.spec import Probability, Spec
from balustrade.core.taxonomy import MODERATE, SEVERE
from balustrade.core.verdict import Finding, Severity, Verdict
from balustrade.guards.classifier import (
    Classifier,
    Piece,
    Read,
    graded_by,
    is_graded,
)
from balustrade.shipped import described
from balustrade.text.views import disguise


class Graded(NamedTuple):
    """What was found, and how grave it is at least; None where its kind has no grades."""

    category: str
    severity: Severity | None


Chances = Mapping[Severity | None, float]
_UNGRADED: Chances = {None: 1.0}


class Beaver(Spec, frozen=True):
    """Report, for each category, how probable each severity or more is, and where it is so most.

    Beside a `Classifier`, whose model and reading it uses, it adds a decision for each severity.
    The classifier reports a category once: the most probable window's score, and the severity that
    window has more likely than not. This guard reports a finding for each severity *g*, with

        P(category, at least g) = P(category) * P(at least g | harmful),

    the highest of all windows. So `severity = "severe"` and `threshold = 0.3` in a rule say that a
    severe case is stopped if it is 30 % likely, and a severe window cannot hide behind a milder one
    that is more certain. P(at least minor) is P(category); P(at least moderate) is never below
    P(severe). A text's grade is taken to be the same for all its categories, as the model has one
    pair of heads, and that of an answer is read from the answer alone.

    An injection is not graded. A rule that asks for a severity counts it as grave enough.

    Fails: as the classifier does; if its model does not grade.
    """

    classifier: Classifier = Classifier(model="cascade")
    """What is graded; its own `name` and `floor` are not used."""

    least: Literal["minor", "moderate", "severe"] = "minor"
    """The least severity that is reported."""

    name: str = "beaver"
    floor: Probability = 0.01
    """Probabilities below this are not reported; which ones count is for the policy to say."""

    def __post_init__(self) -> None:
        known = described(self.classifier.model)
        if known is not None and not {MODERATE, SEVERE} <= {*known.labels}:
            raise ValueError(
                f"model {known.name!r} does not grade; expected 'cascade' or 'encoder'"
            )

    @property
    def judges(self) -> frozenset[str]:
        """What the classifier judges."""
        return self.classifier.judges

    @property
    def latency(self) -> Latency:
        """The classifier's."""
        return self.classifier.latency

    def threshold_for(self, category: str, false_alarms: float) -> float | None:
        """Return from which score on at most this share of harmless texts is flagged.

        The classifier's: no finding here has a higher score than its own, so of a graver severity
        fewer are flagged.

        Raises:
            PolicyError: So low a rate was not measured.
        """
        return self.classifier.threshold_for(category, false_alarms)

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge each content by one call of the model for all of them."""
        read = yield from self.classifier.read(batch)
        best: list[dict[Graded, Finding]] = [{} for _ in batch]
        for piece, graded, score in self._grades(batch, read):
            known = best[piece.content].get(graded)
            if known is None or score > known.score:
                best[piece.content][graded] = Finding(
                    graded.category, score, piece.span, graded.severity, disguise(piece.how)
                )
        return [Verdict(self.name, tuple(found.values())) for found in best]

    def _grades(
        self, batch: Sequence[Content], read: Read
    ) -> Iterator[tuple[Piece, Graded, float]]:
        """Yield what is found in each piece, and how probable it is."""
        if not read.pieces:
            return
        columns = graded_by(read.labels)
        if columns is None:
            raise GuardError(
                f"guard {self.name!r}: its model has no head {MODERATE!r} or {SEVERE!r}"
            )
        roles = {batch[piece.content].role for piece in read.pieces}
        named = self.classifier.reader(roles, read.labels)
        for piece, row in zip(read.pieces, read.rows, strict=True):
            chances: Chances = {
                severity: chance
                for severity, chance in cumulative(row[columns[0]], row[columns[1]]).items()
                if severity >= Severity[self.least.upper()]
            }
            for label, score in named(batch[piece.content].role, row):
                for severity, chance in (chances if is_graded(label) else _UNGRADED).items():
                    if score * chance >= self.floor:
                        yield piece, Graded(label, severity), score * chance


def cumulative(moderate: float, severe: float) -> dict[Severity, float]:
    """Return P(at least this severity | harmful), which never rises with the severity.

    Two heads are learnt apart, so they may say that a text is severe and yet not moderate; what is
    severe is moderate at least, so the higher one counts.

    Args:
        moderate: What the first head says, P(at least moderate | harmful).
        severe: What the second says, P(severe | harmful).
    """
    return {
        Severity.MINOR: 1.0,
        Severity.MODERATE: max(moderate, severe),
        Severity.SEVERE: severe,
    }

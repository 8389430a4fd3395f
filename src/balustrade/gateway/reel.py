"""One answer as somebody watches it being judged: its words, their scores, what has left."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from balustrade.core.call import Heard
from balustrade.core.decision import Decision, Mask
from balustrade.core.guard import Scoring
from balustrade.policy.model import Policy
from balustrade.rails.progress import Progress
from balustrade.rails.rail import Rail


class Threshold(Struct, frozen=True):
    """A rule that stops an answer by what a word-by-word monitor reports."""

    rule: str
    action: str
    limit: float


class Opening(Struct, frozen=True):
    """What is known before the first word."""

    policy: str
    revision: str
    is_scored: bool
    """Whether a monitor of the policy scores each word."""

    is_shown: bool = True
    """Whether the text may be seen; if not, a dot stands for each of its characters."""

    thresholds: tuple[Threshold, ...] = ()
    explained: tuple[str, ...] = ()
    """What each monitor makes of the scores of words."""

    model: str = ""
    key: str = ""
    """Whose request it answers, where keys are configured."""

    html: str = ""
    """What the console's page fills with the steps."""


class Scored(Struct, frozen=True):
    """A word that was judged; `start` and `end` count code points of the answer."""

    start: int
    end: int
    text: str
    score: float


class Step(Struct, frozen=True):
    """What one more chunk of an answer came to."""

    text: str
    """The chunk."""

    words: tuple[Scored, ...]
    """What has been judged since the last step."""

    left: int
    """Up to where the answer has gone on to whoever asked."""

    level: float
    """The highest score that a monitor reported so far; what thresholds are held against."""


class Ending(Struct, frozen=True):
    """How it ended: the rule that counts, and the finding that made it fire."""

    cut: bool
    at: int
    """Where it was cut, or how long it is."""

    action: str
    rule: str
    category: str
    guard: str
    score: float | None
    decision: str
    """Its ID; empty if it is not on record yet."""

    html: str = ""
    """The same for the console's page."""


class Reel(Struct):
    """What was seen of one answer so far."""

    opening: Opening
    monitors: frozenset[str]
    text: str = ""
    words: list[Scored] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    """What had been reported when each word was judged."""

    left: int = 0
    masks: tuple[Mask, ...] = ()
    was_cut: bool = False
    decision: Decision | None = None
    id: str = ""
    """Of the decision, once it is on record."""

    @classmethod
    def of(cls, rail: Rail, name: str, revision: str, is_shown: bool = True) -> Reel:
        """Return an empty reel for an answer that a rail will judge."""
        monitors = [guard for guard in rail.guards if isinstance(guard, Scoring)]
        thresholds = tuple(
            Threshold(rule.name, rule.action, rule.limit)
            for rule in rail.policy.rules
            if rule.effect.stops
            and any(
                rule.guard in {"", guard.name} and rule.category in {"*", guard.category}
                for guard in monitors
            )
        )
        explained = tuple(guard.explained for guard in monitors)
        opening = Opening(name, revision, bool(monitors), is_shown, thresholds, explained)
        return cls(opening, frozenset(guard.name for guard in monitors))

    def take(self, chunk: str, heard: Sequence[Heard], progress: Progress) -> Step:
        """Note one more chunk, what was heard of words meanwhile, and where the stream is now."""
        shown = chunk if self.opening.is_shown else _dotted(chunk)
        self.text += shown
        fresh = tuple(
            Scored(word.start, word.end, self.text[word.start : word.end], word.score)
            for word in heard
        )
        self.words += fresh
        self.left, self.masks = progress.sent, progress.masks
        scores = (
            finding.score
            for verdict in progress.verdicts
            if verdict.guard in self.monitors
            for finding in verdict.findings
        )
        level = max(scores, default=0.0)
        self.levels += [level] * len(fresh)
        return Step(shown, fresh, self.left, level)

    def end(self, decision: Decision, identifier: str, *, was_cut: bool) -> None:
        """Note how it ended."""
        self.decision, self.id, self.was_cut = decision, identifier, was_cut

    def ending(self, policy: Policy, html: str = "") -> Ending:
        """Return how it ended, by the policy that decided."""
        decision = self.decision
        assert decision is not None, "it has not ended"
        made = [one for one in policy.fired(decision.verdicts) if one.rule.name == decision.rule]
        first = max(made, key=lambda one: one.finding.score, default=None)
        return Ending(
            self.was_cut,
            self.left,
            decision.action.word,
            decision.rule,
            first.finding.category if first else "",
            first.guard if first else "",
            first.finding.score if first else None,
            self.id,
            html,
        )


def _dotted(text: str) -> str:
    return "".join(char if char.isspace() else "·" for char in text)

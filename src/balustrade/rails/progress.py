"""Where a judged stream is, and what the findings so far mean for it; no flow, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from balustrade.core.decision import Decision, Mask
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.policy.vault import Vault

KEPT = 8
"""Findings of one category and severity that a monitor's verdict keeps where the same is found
over again."""


class Piece(Struct, frozen=True, gc=False):
    """What may leave now; with a decision, it is the last."""

    text: str = ""
    cut: bool = False
    """Whether the stream was stopped: nothing follows, and upstream is to be cancelled."""

    decision: Decision | None = None
    """The outcome, once the stream is cut or has ended. Its content is left empty, as the text
    is with whoever sent it; spans count in the text as it came from upstream."""


class Progress(Struct, frozen=True, gc=False):
    """The state of one stream; nothing in it changes, so a stream can be replayed or moved."""

    near: tuple[Any, ...]
    """States of the monitors that judge as the text comes; None for one that failed."""

    far: tuple[Any, ...]
    """States of those that judge what the first let by; None for one that failed."""

    verdicts: tuple[Verdict, ...]
    """What each monitor reported so far."""

    helds: tuple[int, ...] = ()
    """How much each far monitor holds back of what it was given."""

    text: str = ""
    """What has not left yet, as it came."""

    sent: int = 0
    """Where `text` begins in the stream: all before has left, or stands masked."""

    passed: int = 0
    """What the near monitors have settled, and the far ones were given."""

    limit: int = -1
    """Where the first place begins that stops the stream; -1 if none is known."""

    marks: tuple[Finding, ...] = ()
    """Places to be masked that have not left yet."""

    masks: tuple[Mask, ...] = ()
    is_cut: bool = False


class Work:
    """One stream during one step: what `Progress` holds, and what the step makes of it."""

    __slots__ = (
        "chunk", "clean", "cut", "early", "far", "fresh_from", "held", "helds", "is_ending",
        "limit", "marks", "masks", "near", "out", "passed", "sent", "text", "vault", "verdicts",
    )  # fmt: skip

    def __init__(self, state: Progress, chunk: str, vault: Vault | None) -> None:
        self.chunk = chunk
        self.vault = vault
        self.near = [*state.near]
        self.far = [*state.far]
        self.verdicts = state.verdicts
        self.text = state.text + chunk
        self.sent = state.sent
        self.passed = self.fresh_from = state.passed
        self.limit = state.limit
        self.marks = state.marks
        self.masks = state.masks
        self.cut = state.is_cut
        self.is_ending = False
        self.early = self.clean = 0
        self.hold(state.helds)
        self.out = ""

    @property
    def fresh(self) -> str:
        """What the near monitors have settled in this step."""
        return self.text[self.fresh_from - self.sent : self.passed - self.sent]

    @property
    def judged(self) -> int:
        """How far every monitor has judged the stream."""
        return self.passed - self.held

    def report(self, number: int, verdict: Verdict) -> None:
        """Put a monitor's verdict in the place of its last one."""
        known = self.verdicts
        self.verdicts = (*known[:number], verdict, *known[number + 1 :])

    def hold(self, helds: tuple[int, ...]) -> None:
        """Note how much each far monitor holds, and the most that any does."""
        self.helds = helds
        self.held = helds[0] if len(helds) == 1 else max(helds, default=0)

    def result(self) -> Progress:
        """Return the state after the step; of a stream that was cut, no text is kept."""
        return Progress(
            (*self.near,),
            (*self.far,),
            self.verdicts,
            self.helds,
            "" if self.cut else self.text,
            self.sent,
            self.passed,
            self.limit,
            self.marks,
            self.masks,
            self.cut,
        )

    def stop_before(self, finding: Finding) -> None:
        """Note the first place that stops the stream; what has left already stops it here."""
        start = -1 if finding.span is None else finding.span.start
        if start < self.sent:
            self.cut = True
        elif self.limit < 0 or start < self.limit:
            self.limit = start

    def mark(self, finding: Finding) -> None:
        """Note a place to mask; what has no place, or has left as it came, can only be stopped."""
        if finding.span is None or self._has_left(finding.span):
            self.cut = True
        elif finding.span.start >= self.sent and finding not in self.marks:
            self.marks = (*self.marks, finding)

    def _has_left(self, span: Span) -> bool:
        return span.start < self.sent and not any(
            mask.span.start <= span.start and span.end <= mask.span.end for mask in self.masks
        )

    def let_out(self, end: int) -> list[Finding]:
        """Move what stands before `end` to `out`; return the marks in it, placed in `out`."""
        length = end - self.sent
        self.out, self.text = self.text[:length], self.text[length:]
        inside: list[Finding] = []
        if self.marks:
            inside = [placed(f, -self.sent) for f in self.marks if span_of(f).end <= end]
            self.marks = tuple(f for f in self.marks if span_of(f).end > end)
        self.sent = end
        return inside


def joined(known: Verdict, new: Verdict) -> Verdict:
    """Return one verdict of what a monitor reported before and reports now."""
    if not new.findings:
        return Verdict(known.guard, known.findings, known.error or new.error)
    best: dict[object, Finding] = {}
    for finding in (*known.findings, *new.findings):
        key = (finding.category, finding.span, finding.severity)
        if key not in best or finding.score > best[key].score:
            best[key] = finding
    return Verdict(known.guard, tuple(best.values()), known.error or new.error)


def strongest(verdict: Verdict) -> Verdict:
    """Return the verdict with only the strongest findings of each kind, so that it is bounded.

    A milder finding never takes a graver one's place, whatever its score: a rule may ask for the
    grave ones alone. For monitors that judge the same words again and again, each time with other
    bounds.
    """
    if len(verdict.findings) <= KEPT:
        return verdict
    kept: list[Finding] = []
    counts: dict[object, int] = {}
    for finding in sorted(verdict.findings, key=lambda f: -f.score):
        key = (finding.category, finding.severity)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= KEPT:
            kept.append(finding)
    return Verdict(verdict.guard, tuple(kept), verdict.error)


def before_marks(end: int, marks: Iterable[Finding]) -> int:
    """Return the last place up to `end` that lies inside no place to be masked."""
    for span in sorted(map(span_of, marks), key=lambda span: -span.end):
        if span.start < end < span.end:
            end = span.start
    return end


def span_of(finding: Finding) -> Span:
    """Return the place of a finding that has one."""
    assert finding.span is not None
    return finding.span


def placed(finding: Finding, offset: int) -> Finding:
    """Return a finding moved by `offset` characters."""
    span = finding.span
    if span is None:
        return finding
    moved = Span(span.part, span.start + offset, span.end + offset)
    return Finding(finding.category, finding.score, moved, finding.severity, finding.note)

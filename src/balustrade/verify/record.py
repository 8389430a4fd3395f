"""The record of a decision: what was decided, by which rules, on what; and how it is written."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.content import Content, words
from balustrade.core.decision import Action, Decision, Mask
from balustrade.core.digest import digest
from balustrade.core.errors import ContentError, VerificationError
from balustrade.core.facts import Facts
from balustrade.core.verdict import Finding, Verdict
from balustrade.store.log import Entry
from balustrade.verify.keep import Keep, kept, originals, private_marks, scrubber

_ERROR_LENGTH = 200


class Status(StrEnum):
    """What became of a content, in one word; the first that fits, from the top."""

    STOPPED = "stopped"
    """It did not go on."""

    NOT_SCANNED = "not-scanned"
    """It went on although some part of it, or all, was judged by no guard."""

    DEGRADED = "degraded"
    """It went on although a guard could not judge it."""

    MASKED = "masked"
    FLAGGED = "flagged"
    PASSED = "passed"
    """Every part was judged by every guard, and no rule fired."""


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision as the log keeps it. A status that the rest does not bear out is refused."""

    id: str
    at: int
    """Microseconds since 1970, UTC."""

    stage: str
    action: str
    status: Status
    digest: str
    """SHA-256 of the content as it came, without its history (core/digest.py)."""

    keep: Keep
    content: Content | None = None
    rule: str = ""
    revision: str = ""
    verdicts: tuple[Verdict, ...] = ()
    """What each guard found; without notes, which a guard writes in its own words."""

    failed: tuple[str, ...] = ()
    unjudged: tuple[int, ...] = ()
    masks: tuple[Mask, ...] = ()
    micros: int = 0
    request: str = ""
    route: str = ""
    model: str = ""
    key: str = ""
    tenant: str = ""
    degraded: bool = False
    version: int = 1

    def __post_init__(self) -> None:
        due = _status(self)
        if self.status is not due:
            raise ValueError(f"status {self.status.value!r} where the rest says {due.value!r}")


def record(decision: Decision, original: Content, facts: Facts, *, keep: Keep) -> Record:
    """Return the record of a decision.

    Args:
        decision: What was decided; its own content may be redacted already.
        original: The content as it was judged.
        facts: The decision's ID, time and circumstances.
        keep: How much of the original to hold.

    Raises:
        ContentError: The content cannot be written as UTF-8.
    """
    hidden = originals(original, private_marks(decision))
    draft = _Draft(
        action=decision.action.word,
        verdicts=tuple(_summary(verdict, original, keep, hidden) for verdict in decision.verdicts),
        failed=decision.failed,
        unjudged=decision.unjudged,
        degraded=facts.degraded,
    )
    try:
        fingerprint = digest(replace(original, history=()))
    except UnicodeEncodeError as error:
        raise ContentError(
            f"content of {facts.id!r} is not valid Unicode: {error.reason}"
        ) from error
    return Record(
        id=facts.id,
        at=facts.at,
        stage=decision.stage,
        action=draft.action,
        status=_status(draft),
        digest=fingerprint,
        keep=keep,
        content=kept(decision, original, keep),
        rule=decision.rule,
        revision=decision.revision,
        verdicts=draft.verdicts,
        failed=draft.failed,
        unjudged=draft.unjudged,
        masks=decision.masks,
        micros=facts.micros,
        request=facts.request,
        route=facts.route,
        model=facts.model,
        key=facts.key,
        tenant=facts.tenant,
        degraded=draft.degraded or (bool(draft.failed) and not decision.action.stops),
    )


def encode(record: Record) -> bytes:
    """Return a record as JSON, which any tool that opens the log can read."""
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """Return the record that was encoded.

    Raises:
        VerificationError: It is not a record, or contradicts itself.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VerificationError(f"not a record of a decision: {error}") from error


def entry(record: Record) -> Entry:
    """Return the log entry of a record, under the decision's ID."""
    return Entry(record.id, record.at, encode(record))


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class _Draft(Struct, frozen=True):
    """What a status follows from."""

    action: str
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, ...]
    unjudged: tuple[int, ...]
    degraded: bool


def _status(record: Record | _Draft) -> Status:
    if record.action.upper() not in Action.__members__:
        raise ValueError(f"no action is named {record.action!r}")
    action = Action[record.action.upper()]
    if action.stops:
        return Status.STOPPED
    if record.unjudged or not record.verdicts:
        return Status.NOT_SCANNED
    if record.failed or record.degraded:
        return Status.DEGRADED
    if action is Action.REDACT:
        return Status.MASKED
    return Status.FLAGGED if action is Action.FLAG else Status.PASSED


def _summary(verdict: Verdict, original: Content, keep: Keep, hidden: list[str]) -> Verdict:
    """Strip a verdict to what may be kept: places and scores, and errors that quote nothing."""
    findings = tuple(Finding(f.category, f.score, f.span, f.severity) for f in verdict.findings)
    error = verdict.error
    if error and keep is not Keep.FULL:
        quoted = [*map(words, original.parts), *hidden] if keep is Keep.DIGEST else hidden
        error = scrubber([text for text in quoted if text])(error)[:_ERROR_LENGTH] or "failed"
    return Verdict(verdict.guard, findings, error)

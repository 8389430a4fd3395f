"""Run guards whose code is not ours off the loop, and hold them to what a verdict may say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from balustrade.core.call import Flow
from balustrade.core.content import Content
from balustrade.core.errors import GuardError
from balustrade.core.guard import Guard
from balustrade.core.verdict import Verdict
from balustrade.flow.offload import is_ours, offload


def safe_check(guard: Guard) -> Callable[[Sequence[Content]], Flow[list[Verdict]]]:
    """Return the guard's check, guarded itself if its code comes from elsewhere."""
    if is_ours(guard):
        return guard.check
    return lambda batch: _foreign(guard, batch)


def _foreign(guard: Guard, batch: Sequence[Content]) -> Flow[list[Verdict]]:
    answers = yield from offload(lambda: guard.check(batch))
    for answer in answers:
        expect_verdict(answer)
    return answers


def expect_verdict(answer: object) -> None:
    """Raise GuardError unless this is a verdict whose scores are probabilities."""
    if not isinstance(answer, Verdict):
        raise GuardError(f"gave a {type(answer).__name__}, expected a Verdict")
    for finding in answer.findings:
        # A score that is no number compares as low as any limit, and would pass.
        if not 0.0 <= finding.score <= 1.0:
            raise GuardError(f"gave the score {finding.score!r}, expected one in [0, 1]")

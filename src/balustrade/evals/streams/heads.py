"""Which findings of a guard say that an answer is harmful, and from which score on."""

from __future__ import annotations

from msgspec.structs import replace

from balustrade.core.errors import PolicyError
from balustrade.core.guard import Calibrated
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.evals.question import Question
from balustrade.evals.subject import Head, Subject

RATE = 0.01
"""The share of harmless texts that shipped thresholds let a guard stop."""


def answer_head(subject: Subject) -> Head:
    """Return the part of a guard that judges answers, at its own default threshold.

    Raises:
        PolicyError: There is none.
    """
    head = subject.heads.get(Question.RESPONSE)
    if head is None:
        known = ", ".join(sorted(question.value for question in subject.heads)) or "nothing"
        raise PolicyError(
            f"guard {subject.name!r} does not judge answers, it judges: {known}; "
            "if its labels do not say what they answer, add '#response' to its name"
        )
    return head


def stream_head(
    subject: Subject, threshold: float | None = None, false_alarms: float | None = None
) -> Head:
    """Return the part of a guard that stops streams, at the threshold given or shipped.

    A guard that is calibrated ships a threshold for a rate of false alarms; another one stops at
    what its kind says yes from.

    Args:
        subject: The guard.
        threshold: From which score on it stops.
        false_alarms: Instead, the share of harmless answers that may be stopped.

    Raises:
        PolicyError: The guard does not judge answers, ships no threshold, or both are given.
    """
    head, guard, name = answer_head(subject), subject.guard, subject.name
    if threshold is not None and false_alarms is not None:
        raise PolicyError("expected a threshold or a rate of false alarms, found both")
    if threshold is not None:
        if head.says:
            raise PolicyError(f"guard {name!r} says yes by itself and takes no threshold")
        return replace(head, threshold=threshold)
    if isinstance(guard, Calibrated):
        limit = guard.threshold_for(RESPONSE_HARM, RATE if false_alarms is None else false_alarms)
        if limit is not None:
            return replace(head, threshold=limit)
        raise PolicyError(
            f"guard {name!r} ships no threshold for {RESPONSE_HARM!r} with these fields: give one"
        )
    if false_alarms is not None:
        raise PolicyError(f"guard {name!r} is not calibrated: give a threshold")
    return head

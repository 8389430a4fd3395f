"""How surely a monitor and the model that shares its doubts hold a text harmful.

Thresholds of the monitor alone say nothing of the score of both, so that one is measured itself:
the guard that serves reads held-out texts, and the model is asked where it would be asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Backend, Route
from balustrade.core.content import Content, Role
from balustrade.flow.run import run
from balustrade.guards.scm import Scm
from balustrade.shipped import Stop

OTHER = "cascade"
"""The shipped model that is asked."""
AT_ONCE = 64


def highs(
    engine: Recurrent, other: Backend, stop: Stop, texts: Sequence[tuple[str, str]]
) -> list[float]:
    """Return the highest score of both that each answer to its request reaches; 0 if never asked.

    Raises:
        BackendError: A model cannot judge a text.
    """
    guard = Scm(hits=stop.hits, words=stop.words, confirm=OTHER)
    route = Route({"monitor": lambda: engine, OTHER: lambda: other})
    found: list[float] = []
    for first in range(0, len(texts), AT_ONCE):
        some = texts[first : first + AT_ONCE]
        answers = [Content.of(text, Role.ASSISTANT, (Content.of(asked),)) for asked, text in some]
        found += [
            max((finding.score for finding in verdict.findings), default=0.0)
            for verdict in run(guard.check(answers), route.send)
        ]
    return found

"""What judging a streamed answer costs, a token at a time.

    pytest benchmarks/test_stream.py -p no:cacheprovider

Each round is one stream of 64 tokens, stepped as the gateway steps it; divide by 64 for a token.
"""

from __future__ import annotations

from typing import Any

import pytest

from balustrade.backends.route import Route
from balustrade.core.content import Content, Stage
from balustrade.core.guard import Guard
from balustrade.flow.run import run
from balustrade.guards.classifier import Classifier
from balustrade.guards.keywords import Keywords
from balustrade.policy.model import Policy, Rule
from balustrade.rails.rail import Rail
from balustrade.rails.stream import Stream

TEXT = (
    "The tide was low when they left the harbour, and the gulls followed them for a mile or so "
    "before turning back towards the town. Nobody spoke much at first, because the wind was cold "
    "and the coffee had not yet done its work, but by the time the island came into view they "
    "were laughing about the map and the old boat again."
)
TOKENS = [word if not number else f" {word}" for number, word in enumerate(TEXT.split(" "))][:64]
KEYWORDS = Keywords(words=("launch code", "project heron", "thermite"), category="secret")


def static() -> Any:
    from balustrade.backends.static import Static

    return Static("static")


def guards(kind: str) -> tuple[Guard, ...]:
    made: dict[str, tuple[Guard, ...]] = {
        "none": (),
        "keywords": (KEYWORDS,),
        "classifier": (Classifier(),),
        "keywords and classifier": (KEYWORDS, Classifier()),
    }
    if kind.startswith("patterns"):
        from balustrade.guards.patterns import Patterns

        return (Patterns(), Classifier()) if kind.endswith("classifier") else (Patterns(),)
    return made[kind]


def stream_of(judged: Stream, send: Any) -> str:
    state = judged.start(Content.of("Tell me about the sea."))
    out = []
    for token in TOKENS:
        [(state, piece)] = run(judged.step([state], [token]), send)
        out.append(piece.text)
    [(state, piece)] = run(judged.finish([state]), send)
    return "".join([*out, piece.text])


@pytest.mark.parametrize(
    "kind",
    [
        "none",
        "keywords",
        "patterns",
        "classifier",
        "keywords and classifier",
        "patterns and classifier",
    ],
)
def test_a_stream_of_64_tokens(benchmark: Any, kind: str) -> None:
    rules = (Rule("no-secrets", "secret"), Rule("no-harm", "response-harm", threshold=0.999))
    route = Route({"static": static})
    judged = Stream(Rail(guards(kind), Policy("p", rules), Stage.OUTPUT))
    assert benchmark(stream_of, judged, route.send) == "".join(TOKENS)
    route.close()

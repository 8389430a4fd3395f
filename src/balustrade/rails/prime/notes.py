"""What a guard said of a request: its check, its route, its tip, read and made harmless."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import exp

from msgspec import Struct

from balustrade.core.call import Spoken
from balustrade.rails.prime.lenient import keyed, objects

SENTENCES = 2
WORDS = 60
LONGEST = 600
"""Characters of a check that are kept."""

UNREAD = "the guard's answer could not be read"


class Route(StrEnum):
    """How a request goes on."""

    MINIMAL = "no_to_minimal_risk"
    POTENTIAL = "potential_violation"
    DIRECT = "direct_violation"


class Notes(Struct, frozen=True):
    """What was made of a guard's answer."""

    route: Route = Route.POTENTIAL
    check: str = ""
    tip: str = ""
    scores: dict[Route, float] = {}
    """The probability of each route; empty where the server reports none."""
    trouble: str = ""
    """Why the careful route was taken though the guard named none; empty if it did."""


def read(reply: Spoken, minimal: float, direct: float) -> Notes:
    """Return what a guard said; whatever cannot be read leads to the careful route.

    The last object that names a route counts. Where several name different ones, somebody put one
    there, and none is believed.

    Args:
        reply: The guard's answer.
        minimal: The probability of no risk from which that route is taken.
        direct: The same of a direct violation.
    """
    found = [keyed(each, ("check", "route", "tip")) for each in objects(reply.text)]
    named = [(each, route) for each in found if (route := route_of(each.get("route"))) is not None]
    if not named:
        return Notes(check=plain(reply.text, LONGEST), trouble=UNREAD)
    said, route = named[-1]
    check, tip = _text(said.get("check")), _text(said.get("tip"))
    notes = Notes(route, plain(check, LONGEST), short(tip))
    if len({each for _, each in named}) > 1:
        return Notes(Route.POTENTIAL, notes.check, "", {}, "the guard named several routes")
    scores = probabilities(reply)
    if not scores:
        return notes
    return Notes(by_odds(scores, minimal, direct), notes.check, notes.tip, scores)


def by_odds(scores: Mapping[Route, float], minimal: float, direct: float) -> Route:
    """Return the route that its probability allows; the careful one if none does."""
    sure_of_harm = scores[Route.DIRECT] >= direct
    if scores[Route.MINIMAL] >= minimal and not (
        sure_of_harm and scores[Route.DIRECT] >= scores[Route.MINIMAL]
    ):
        return Route.MINIMAL
    return Route.DIRECT if sure_of_harm else Route.POTENTIAL


def route_of(value: object) -> Route | None:
    """Return the route that a value names, its letters' case and blanks aside."""
    if not isinstance(value, str):
        return None
    bare = re.sub(r"[\W_]+", "", value).lower()
    return next((route for route in Route if route.value.replace("_", "") == bare), None)


_VALUE = re.compile(r'["\']route["\']\s*:\s*["\']', re.IGNORECASE)


def probabilities(reply: Spoken) -> dict[Route, float]:
    """Return the probability of each route, from the alternatives of the token that names it.

    The three names differ in their first letter, so that token tells them apart, and what follows
    it is certain. Empty if the tokens do not make up the text, or none of them names a route.
    """
    text = "".join(token.text for token in reply.tokens)
    if not text or text.strip() != reply.text.strip():
        return {}
    place = None
    for match in _VALUE.finditer(text):
        place = match.end()
    if place is None:
        return {}
    start = 0
    for token in reply.tokens:
        end = start + len(token.text)
        if end > place:
            return _odds(token.alternatives, text[start:place] if start < place else "")
        start = end
    return {}


def _odds(alternatives: Mapping[str, float], before: str) -> dict[Route, float]:
    """Return the share of each route among alternatives; `before` is what else the token says."""
    odds = dict.fromkeys(Route, 0.0)
    for said, logprob in alternatives.items():
        if not said.startswith(before):
            continue
        begun = said[len(before) :].strip(" \"'").lower()
        fits = [
            route
            for route in Route
            if begun and (route.value.startswith(begun) or begun.startswith(route.value))
        ]
        if len(fits) == 1:
            odds[fits[0]] += exp(min(logprob, 0.0))
    total = sum(odds.values())
    return {route: odd / total for route, odd in odds.items()} if total else {}


def short(tip: str) -> str:
    """Return a tip of at most two sentences and sixty words, without marks and tags."""
    sentences = re.split(r"(?<=[.!?。！？])\s+", plain(tip, LONGEST))
    return " ".join(" ".join(sentences[:SENTENCES]).split(" ")[:WORDS])


def plain(text: str, most: int) -> str:
    """Return a text on one line, without what could pass for a tag, a mark or a turn."""
    bare = re.sub(
        r"<[^<>]*>|[<>{}\[\]`|]|(?:system|assistant|user)\s*:", " ", text, flags=re.IGNORECASE
    )
    return " ".join(bare.split())[:most]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def answer_of(text: str) -> tuple[str, str] | None:
    """Return a careful answer's second thought and what the person is to read.

    None if the model did not answer as it was told; then nothing of it may be shown, for it might
    be what it thought and not what it meant to say.
    """
    found: Sequence[dict[str, object]] = [
        keyed(each, ("reevaluation", "final_response")) for each in objects(text)
    ]
    for each in reversed(found):
        said = each.get("final_response")
        if isinstance(said, str) and said.strip():
            return _text(each.get("reevaluation")), said
    return None

"""What stands behind a decision, for a person: the words that carried it, the nearest examples."""

from __future__ import annotations

from balustrade.cli.screen import Screen
from balustrade.core.content import Content, words
from balustrade.core.verdict import Span
from balustrade.guards.neighbours import Near, Neighbour
from balustrade.rails.explanation import Carrier, Explanation

SHOWN = 8
"""Words that are listed, the heaviest."""

WIDEST = 60
"""Characters of a word or an example that are shown."""

_BY = {"meaning": "meaning", "scores": "all their scores"}


def report(screen: Screen, content: Content, explanation: Explanation) -> None:
    """Print it."""
    of = f" of model {explanation.model!r}" if explanation.model else ""
    heaviest = [each for each in explanation.words if each.weight > 0][:SHOWN]
    if heaviest:
        screen.line()
        said = f"what speaks for {explanation.category} ({explanation.score:.3f}{of})"
        screen.line(screen.paint(said, "dim"))
        screen.table(("adds", "share", "words"), (_cells(content, each) for each in heaviest))
    if explanation.near and explanation.near.examples:
        screen.line()
        _report(screen, explanation.near)
    if explanation.error:
        screen.line()
        screen.line(f"not explained in full: {explanation.error}")


def _report(screen: Screen, near: Near) -> None:
    screen.line(screen.paint(f"nearest known examples, by {_BY[near.by]}", "dim"))
    head = ("alike", "label", "category", "text")
    screen.table(head, map(_example, near.examples))


def _cells(content: Content, carrier: Carrier) -> tuple[str, ...]:
    said = _short(_text(content, carrier.span))
    return f"{carrier.weight:.2f}", f"{carrier.share:.0%}", said


def _text(content: Content, span: Span) -> str:
    return words(content.parts[span.part])[span.start : span.end]


def _example(example: Neighbour) -> tuple[str, ...]:
    categories = ", ".join(example.categories) or "-"
    return f"{example.similarity:.3f}", example.label, categories, _short(example.text)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"

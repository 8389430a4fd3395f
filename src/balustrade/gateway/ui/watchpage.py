"""The page on which an answer is watched: its form, its words by their scores, and its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as esc
from itertools import pairwise

from msgspec import Struct

from balustrade.core.decision import Mask
from balustrade.gateway.reel import Ending, Opening, Reel, Scored
from balustrade.gateway.ui.markup import badge, page, table
from balustrade.policy.explain import explain
from balustrade.policy.model import Policy

LONGEST = 20_000
"""Characters of an answer, and of the request before it."""

PACES = range(1, 201)
"""Words a second; models write some 10 to 100."""

SAMPLES = (
    ("How do I bake bread without yeast?",
     "Use baking soda instead. Mix two cups of flour with a spoon of soda and a pinch of salt, "
     "stir in a cup of buttermilk, and knead the dough for a minute or two. Shape a round loaf, "
     "cut a cross into the top, and bake it for forty minutes, until it sounds hollow."),
    ("Which card is on file?",
     "Let me look that up for you. The booking was paid with the card 4111 1111 1111 1111, which "
     "is valid for two more years, and the receipt went to your usual address."),
)  # fmt: skip
"""Requests and answers that a newcomer may try with one click."""

BAR = 6
"""Pixels from one word to the next in the chart."""


class Wanted(Struct, frozen=True):
    """What the form was filled with."""

    text: str = ""
    request: str = ""
    policy: str = ""
    pace: int = 8


def watching(policies: Sequence[str], wanted: Wanted, shown: str = "", error: str = "") -> bytes:
    """Return the page: a form, and what became of the answer that was sent with it.

    Args:
        policies: Names of those that may be tried.
        wanted: What the form is filled with.
        shown: An `outcome`, if there is one yet.
        error: What was wrong with the form.
    """
    said = f'<p class="error" role="alert">{esc(error)}</p>' if error else ""
    empty = (
        '<p class="empty">Nothing streamed yet. The words will appear here as they are judged.</p>'
    )
    return page(
        "Live stream",
        '<h1>Live stream</h1><p class="lead">An answer as the gateway judges it while a model '
        "writes it: each word with the score of harm that the monitor gives it, and where the "
        f'policy cuts it.</p><div class="columns">{_form(policies, wanted)}'
        '<section class="panel" data-stage><h2>Stream</h2>'
        f'<p class="error" role="alert" data-problem hidden></p>{said}'
        f'<p class="note" role="status" data-status></p><div data-live>{shown or empty}</div>'
        "</section></div>",
        "/console/watch",
        "watch.js",
    )


def _form(policies: Sequence[str], wanted: Wanted) -> str:
    choices = "".join(
        f"<option{' selected' if name == wanted.policy else ''}>{esc(name)}</option>"
        for name in policies
    )
    samples = "".join(
        '<li><form method="post" action="/console/watch" data-watch>'
        f'<input type="hidden" name="request" value="{esc(request)}">'
        f'<input type="hidden" name="text" value="{esc(text)}">'
        f'<button class="sample">{esc(request)}</button></form></li>'
        for request, text in SAMPLES
    )
    return (
        '<section class="panel"><h2>Stream an answer</h2>'
        '<form method="post" action="/console/watch" data-watch>'
        '<label for="request">The request it answers (optional; read, not judged)</label>'
        f'<textarea class="short" id="request" name="request" maxlength="{LONGEST}">'
        f"\n{esc(wanted.request)}</textarea>"
        '<label for="text">The answer</label>'
        f'<textarea id="text" name="text" required maxlength="{LONGEST}">'
        f"\n{esc(wanted.text)}</textarea>"
        '<div class="pair"><div><label for="policy">Policy</label>'
        f'<select id="policy" name="policy">{choices}</select></div>'
        '<div><label for="pace">Words a second</label>'
        f'<input type="number" id="pace" name="pace" required min="{PACES[0]}" '
        f'max="{PACES[-1]}" value="{wanted.pace}"></div></div>'
        '<button>Stream it</button> <button type="button" data-stop hidden>Stop</button></form>'
        f'<h2>Or the answer to one of these</h2><ul class="samples">{samples}</ul>'
        "<h2>Or what the gateway answers</h2>"
        "<p>The next answer that is streamed to a client, with its words where the policy keeps "
        "texts in full, else with a dot for each character.</p>"
        '<button type="button" data-next="/console/watch/next" hidden>Watch the next one</button>'
        "<noscript>Needs JavaScript.</noscript></section>"
    )


def opening(known: Opening) -> str:
    """Return what stands on the page while the answer comes, for the script to fill."""
    return f'<pre class="judged" data-text></pre>{_chart(Reel(known, frozenset()))}'


def outcome(reel: Reel, policy: Policy) -> str:
    """Return an answer that has ended: what was decided, its words, its chart."""
    decision = reel.decision
    assert decision is not None, "it has not ended"
    ending = reel.ending(policy)
    reasons = "".join(f"<li>{esc(reason)}</li>" for reason in explain(policy, decision))
    told = _told(ending, len(reel.masks))
    return (
        f'<p class="verdict">{badge(ending.action)} <span>{told}</span></p>'
        f'<pre class="judged">{"".join(_pieces(reel))}</pre>{_chart(reel)}'
        f'<h2>Why</h2><ul class="why">{reasons}</ul>'
        f'<p class="note">Decision <a href="/console/decisions/{esc(reel.id)}">'
        f"<code>{esc(reel.id)}</code></a></p>{_table(reel)}"
    )


def _told(ending: Ending, places: int) -> str:
    masked = f", {places} {'place' if places == 1 else 'places'} masked" if places else ""
    if not ending.cut:
        return f"all {ending.at:,} characters have left{masked}"
    named = ending.category and f" ({ending.category}, {ending.score:.3f} by {ending.guard})"
    return f"cut after {ending.at:,} characters by {esc(ending.rule + named)}{masked}"


def _pieces(reel: Reel) -> Iterator[str]:
    """Yield the text in pieces that are of one word, masked or not, before the cut or after it."""
    size = len(reel.text)
    edges = {0, size, *(edge for word in reel.words for edge in (word.start, word.end))}
    edges.update(edge for mask in reel.masks for edge in (mask.span.start, mask.span.end))
    if reel.was_cut:
        edges.add(reel.left)
    words, masks = iter(reel.words), iter(sorted(reel.masks, key=lambda mask: mask.span))
    word, mask = next(words, None), next(masks, None)
    for start, end in pairwise(sorted(edge for edge in edges if edge <= size)):
        while word and word.end <= start:
            word = next(words, None)
        while mask and mask.span.end <= start:
            mask = next(masks, None)
        if reel.was_cut and start == reel.left:
            yield _CUT
        masked = mask if mask and mask.span.start <= start else None
        scored = word if word and word.start <= start else None
        is_withheld = reel.was_cut and start >= reel.left
        yield _piece(reel.text[start:end], scored, masked, is_withheld=is_withheld)
    if reel.was_cut and reel.left >= size:
        yield _CUT


_CUT = '<b class="cut">✂ cut here </b>'


def _piece(text: str, word: Scored | None, mask: Mask | None, *, is_withheld: bool) -> str:
    piece = esc(text)
    if word is not None:
        piece = f'<span class="word h{heat(word.score)}" {_marks(word)}>{piece}</span>'
    if mask is not None:
        tag = f'<span class="tag"> {esc(mask.category)}</span>'
        piece = f'<mark title="left as {esc(mask.placeholder)}">{piece}{tag}</mark>'
    return f'<del title="did not leave">{piece}</del>' if is_withheld else piece


def _marks(word: Scored) -> str:
    return f'title="{word.score:.4f}" data-score="{word.score:.4f}"'


def heat(score: float) -> int:
    """Return which of ten shades a score has."""
    return min(9, int(score * 10))


def _chart(reel: Reel) -> str:
    """Return the scores of all words as bars, with the rules' thresholds across them."""
    if not reel.opening.is_scored:
        return (
            '<p class="note">No monitor of this policy reads answers word by word, so its words '
            "have no scores. Where it is cut is shown all the same.</p>"
        )
    bars = "".join(
        f'<rect class="h{heat(word.score)}" x="{number * BAR}" y="{_y(word.score)}" '
        f'width="{BAR - 1}" height="{100 * word.score:.1f}">'
        f"<title>{esc(word.text)} {word.score:.4f}</title></rect>"
        for number, word in enumerate(reel.words)
    )
    level = " ".join(
        f"{number * BAR},{_y(score)} {(number + 1) * BAR},{_y(score)}"
        for number, score in enumerate(reel.levels)
    )
    limits = "".join(_across("limit", each.limit) for each in reel.opening.thresholds)
    best = max((word.score for word in reel.words), default=0.0)
    return (
        '<div class="chart" tabindex="0" role="group" aria-label="Chart of the scores">'
        f'<svg role="img" aria-label="{len(reel.words)} words, the highest score {best:.4f}" '
        f'width="{len(reel.words) * BAR}" height="120">{_across("axis", 1)}{_across("axis", 0)}'
        f'<g data-bars>{bars}</g><polyline class="level" data-level points="{level}"/>'
        f"{limits}{_cut_line(reel)}</svg></div>{_legend(reel.opening)}"
    )


def _table(reel: Reel) -> str:
    """Return the scores once more for those who see neither colours nor charts."""
    if not reel.words:
        return ""
    rows = (
        (esc(word.text), f"{word.score:.4f}", f"{level:.4f}")
        for word, level in zip(reel.words, reel.levels, strict=True)
    )
    listing = table(("Word", "Score", "Reported"), rows, "", "Words in their order")
    return f"<details><summary>All scores as a table</summary>{listing}</details>"


def _across(kind: str, score: float) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{_y(score)}" y2="{_y(score)}"/>'


def _cut_line(reel: Reel) -> str:
    if not reel.was_cut:
        return ""
    x = BAR * sum(word.end <= reel.left for word in reel.words)
    return f'<line class="cut" x1="{x}" x2="{x}" y1="0" y2="120"/>'


def _legend(known: Opening) -> str:
    rows = ['<li><i class="bar"></i>the score of each word, from 0 to 1</li>']
    rows += [f'<li><i class="level"></i>{esc(each)}</li>' for each in known.explained]
    rows += [
        f'<li><i class="limit"></i>rule {esc(each.rule)} takes it from {each.limit:.4f} on: '
        f"{esc(each.action)}</li>"
        for each in known.thresholds
    ] or ["<li>no rule asks for what it reports</li>"]
    return f'<ul class="legend">{"".join(rows)}</ul>'


def _y(score: float) -> str:
    return f"{110 - 100 * score:.1f}"

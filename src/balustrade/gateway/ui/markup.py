"""The frame of every page, and the pieces pages share. All text passes through `esc`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape as esc
from itertools import pairwise

from balustrade.core.verdict import Finding, Severity
from balustrade.rails.explanation import Carrier

NAV = (
    ("/", "Playground"),
    ("/console/watch", "Live stream"),
    ("/console/decisions", "Decisions"),
    ("/console/policy", "Policy"),
)
POLICY_HEADER = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content security policy: nothing from outside, nothing inline."""


def page(title: str, body: str, here: str = "", script: str = "live.js") -> bytes:
    """Return a whole page."""
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == here else ""}>{name}</a>'
        for path, name in NAV
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)} · Balustrade</title>"
        '<link rel="stylesheet" href="/console/style.css">'
        '<link rel="icon" href="/console/icon.svg" type="image/svg+xml">'
        f'<script src="/console/{script}" defer></script></head><body>'
        '<a class="skip" href="#main">Skip to content</a>'
        '<header><a class="brand" href="/"><img src="/console/icon.svg" alt="" width="24" '
        f'height="24"> Balustrade</a><nav aria-label="Console">{links}'
        '<a href="/docs">API</a></nav></header>'
        f'<main id="main">{body}</main></body></html>\n'
    ).encode("utf-8", "replace")


def badge(action: str) -> str:
    """Return an action as a coloured word; the colour says nothing the word does not."""
    return f'<span class="badge {esc(action)}">{esc(action)}</span>'


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    empty: str,
    caption: str,
    ids: Sequence[str] = (),
) -> str:
    """Return a table of cells that are markup already, or a sentence where there are no rows."""
    made = table_rows(heads, rows, ids)
    if not made:
        return f'<p class="empty">{esc(empty)}</p>'
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in heads)
    return (
        f'<div class="scroll"><table><caption>{esc(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{made}</tbody></table></div>"
    )


def table_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], ids: Sequence[str] = ()) -> str:
    """Return the rows of a table alone; each cell knows its head, for narrow screens."""
    made = []
    for number, row in enumerate(rows):
        cells = "".join(
            f'<td data-head="{esc(head)}">{cell}</td>'
            for head, cell in zip(heads, row, strict=True)
        )
        mark = f' data-id="{esc(ids[number])}"' if ids else ""
        made.append(f"<tr{mark}>{cells}</tr>")
    return "".join(made)


def meter(score: float) -> str:
    """Return a score in [0, 1] as a bar and a number."""
    return f'<meter min="0" max="1" value="{score:.4f}">{score:.2f}</meter> <b>{score:.3f}</b>'


def severity(grade: Severity | None) -> str:
    """Return a severity as a word."""
    return "" if grade is None else grade.name.lower()


def highlighted(texts: Sequence[str], findings: Iterable[Finding]) -> str:
    """Return the texts of the parts with the spans of findings marked; overlaps share a mark."""
    placed = [finding for finding in findings if finding.span is not None]
    blocks = []
    for number, text in enumerate(texts):
        here = [
            (finding.span.start, finding.span.end, finding.category)
            for finding in placed
            if finding.span is not None and finding.span.part == number
        ]
        blocks.append(f'<pre class="judged">{_marked(text, here)}</pre>')
    return "".join(blocks)


def _marked(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    edges = sorted({0, len(text), *(edge for start, end, _ in spans for edge in (start, end))})
    pieces = []
    for start, end in pairwise(edges):
        names = sorted({name for first, last, name in spans if first <= start and end <= last})
        piece = esc(text[start:end])
        if names:
            label = esc(", ".join(names))
            piece = f'<mark title="{label}">{piece}<span class="tag"> {label}</span></mark>'
        pieces.append(piece)
    return "".join(pieces)


def weighted(texts: Sequence[str], carriers: Iterable[Carrier]) -> str:
    """Return the texts of the parts with the words marked that carried a finding.

    The heavier a word, the stronger its mark; words that add less than a tenth of what the
    heaviest adds are left plain.
    """
    found = [each for each in carriers if each.weight > 0]
    heaviest = max((each.weight for each in found), default=0.0)
    blocks = []
    for number, text in enumerate(texts):
        pieces, last = [], 0
        here = [e for e in found if e.span.part == number and e.weight * 10 >= heaviest]
        for each in sorted(here, key=lambda each: each.span):
            start, end = max(each.span.start, last), each.span.end
            if start >= end:
                continue
            level = min(4, 1 + int(4 * each.weight / heaviest))
            pieces.append(
                f'{esc(text[last:start])}<mark class="carries w{level}" '
                f'title="{each.share:.0%}, adds {each.weight:.2f}">{esc(text[start:end])}</mark>'
            )
            last = end
        if pieces:
            blocks.append(f'<pre class="judged">{"".join(pieces)}{esc(text[last:])}</pre>')
    return "".join(blocks)

"""How much of a harmful answer is seen, by where its harm begins, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

from balustrade.evals.plots import svg
from balustrade.evals.streams.figures import DecileFigures

BAR = 300
"""Length of the axis from 0 to 100 %, in user units."""
LEFT, TOP, RIGHT, BOTTOM = 78, 28, 40, 22
ROW = 20


def seen_plot(system: str, found: Sequence[DecileFigures]) -> str:
    """Draw the mean share that one guard saw, a bar for each tenth that harm may begin in."""
    bottom = TOP + len(found) * ROW
    body: list[str] = []
    for quarter in (0, 25, 50, 75, 100):
        x = _x(quarter / 100)
        body.append(f'<line class="grid" x1="{x}" y1="{TOP - 4}" x2="{x}" y2="{bottom}"/>')
        body.append(f'<text x="{x}" y="{bottom + 14}" class="middle">{quarter} %</text>')
    for number, each in enumerate(found):
        body += _bar(TOP + number * ROW, each)
    spoken = "; ".join(
        f"harm from {10 * (each.decile - 1)} %: {100 * (each.seen.mean.value or 0.0):.0f} % seen"
        for each in found
    )
    return svg(system, LEFT + BAR + RIGHT, bottom + BOTTOM, body, f"{system}: {spoken}")


def _bar(top: float, each: DecileFigures) -> list[str]:
    value, interval = each.seen.mean.value or 0.0, each.seen.mean.interval
    name = f"{10 * (each.decile - 1)} to {10 * each.decile} %"
    begins, middle = _x((each.decile - 1) / 10), top + 8
    body = [
        f'<text x="{LEFT - 8}" y="{top + 12}" class="end">{name}</text>',
        f'<rect class="recall" x="{LEFT}" y="{top + 3}" width="{BAR * value:.1f}" height="10"/>',
        f'<line class="base" x1="{begins}" y1="{top}" x2="{begins}" y2="{top + ROW}"/>',
    ]
    end = value
    if interval is not None:
        end = max(end, interval.high)
        body.append(
            f'<line class="whisker" x1="{_x(interval.low):.1f}" y1="{middle}" '
            f'x2="{_x(interval.high):.1f}" y2="{middle}"/>'
        )
    label = f"{100 * value:.0f}"
    body.append(f'<text class="small" x="{_x(end) + 5:.1f}" y="{top + 11.5}">{label}</text>')
    return body


def _x(share: float) -> float:
    return LEFT + BAR * share

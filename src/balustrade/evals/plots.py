"""Plots as SVG text: no library, no script, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from balustrade.evals.bootstrap import Interval
from balustrade.evals.figures import Figures, Point, Slice
from balustrade.evals.reliability import Reliability

SIDE = 180
"""Length of an axis from 0 to 1, in user units."""
LEFT, TOP, RIGHT, BOTTOM = 38, 40, 12, 36
BARS_TOP = 28
ROW = 24
"""Height of one language's pair of bars."""
BAR = 300
NAMES = 66
VALUES = 60


def curve_plot(title: str, figures: Figures) -> str:
    """Draw precision over recall, the share of unsafe rows, and where the guard ships."""
    base = figures.unsafe / figures.judged
    body = [_line([(0, base), (1, base)], "base"), _line(_steps(figures.curve), "curve")]
    if figures.recall is not None and figures.precision is not None:
        x, y = _at(figures.recall, figures.precision)
        body.append(f'<circle class="shipped" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    area = "" if figures.auprc is None else f"AUPRC {figures.auprc:.3f}"
    return _square(title, area, "recall", "precision", body)


def reliability_plot(title: str, found: Reliability) -> str:
    """Draw the share of unsafe rows over the score; a dot's area is its share of the rows."""
    total = sum(part.rows for part in found.bins)
    dots = []
    for part in found.bins:
        x, y = _at(part.score, part.unsafe)
        radius = 2.0 + 10.0 * (part.rows / total) ** 0.5
        dots.append(f'<circle class="bin" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    line = _line([(part.score, part.unsafe) for part in found.bins], "curve")
    body = [_line([(0, 0), (1, 1)], "base"), line, *dots]
    return _square(title, f"ECE {found.ece:.3f}", "score", "share unsafe", body)


def bars_plot(title: str, parts: Sequence[Slice]) -> str:
    """Draw recall and false alarms of each part as a pair of bars with their intervals."""
    body = []
    for number, part in enumerate(parts):
        top = BARS_TOP + number * ROW
        body.append(f'<text x="{NAMES - 8}" y="{top + 14}" class="end">{escape(part.name)}</text>')
        body += _bar(top + 2, part.recall, part.intervals.recall, "recall")
        body += _bar(top + 11, part.false_alarms, part.intervals.false_alarm_rate, "alarms")
    bottom = BARS_TOP + len(parts) * ROW
    for tenth in (0, 25, 50, 75, 100):
        x = NAMES + BAR * tenth / 100
        body.append(f'<line class="grid" x1="{x}" y1="{BARS_TOP - 4}" x2="{x}" y2="{bottom}"/>')
        body.append(f'<text x="{x}" y="{bottom + 14}" class="middle">{tenth} %</text>')
    return svg(title, NAMES + BAR + VALUES, bottom + 22, body, title)


def _bar(top: float, value: float | None, interval: Interval | None, kind: str) -> list[str]:
    if value is None:
        return []
    body = [
        f'<rect class="{kind}" x="{NAMES}" y="{top}" width="{BAR * value:.1f}" height="8" rx="1"/>'
    ]
    end = value
    if interval:
        end = max(end, interval.high)
        middle = top + 4
        body.append(
            f'<line class="whisker" x1="{NAMES + BAR * interval.low:.1f}" y1="{middle}" '
            f'x2="{NAMES + BAR * interval.high:.1f}" y2="{middle}"/>'
        )
    x = NAMES + BAR * end + 5
    body.append(f'<text class="small" x="{x:.1f}" y="{top + 7.5}">{100 * value:.0f}</text>')
    return body


def _steps(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the corners: precision holds from one recall back to the one before it."""
    corners: list[tuple[float, float]] = []
    before = 0.0
    for point in points:
        corners += [(before, point.precision), (point.recall, point.precision)]
        before = point.recall
    return corners


def _square(title: str, figure: str, across: str, up: str, body: Sequence[str]) -> str:
    axes = []
    for quarter in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _at(quarter, quarter)
        low = TOP + SIDE
        axes.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{low}"/>')
        axes.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{LEFT + SIDE}" y2="{y}"/>')
        if quarter in {0.0, 0.5, 1.0}:
            axes.append(f'<text x="{x}" y="{low + 14}" class="middle">{quarter:g}</text>')
            axes.append(f'<text x="{LEFT - 5}" y="{y + 4}" class="end">{quarter:g}</text>')
    middle = TOP + SIDE / 2
    axes += [
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 29}" class="middle">{across}</text>',
        f'<text transform="translate(11 {middle}) rotate(-90)" class="middle">{up}</text>',
    ]
    note = f'<text x="4" y="29">{escape(figure)}</text>'
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    return svg(title, width, height, [*axes, *body, note], f"{title}, {figure}")


def svg(title: str, width: float, height: float, body: Sequence[str], spoken: str) -> str:
    """Return a drawing that says in `spoken` what it shows."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(spoken)}"><text x="4" y="14" class="title">{escape(title)}</text>'
        f"{''.join(body)}</svg>"
    )


def _line(points: Sequence[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(*point) for point in points))
    return f'<polyline class="{kind}" points="{path}"/>'


def _at(x: float, y: float) -> tuple[float, float]:
    return LEFT + SIDE * x, TOP + SIDE * (1.0 - y)

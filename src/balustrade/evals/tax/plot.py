"""Safety against helpfulness, one cross a system, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import dist

from balustrade.evals.plots import svg
from balustrade.evals.tax.figures import SystemFigures
from balustrade.evals.tax.systems import PRIME

WIDTH, HEIGHT = 420, 300
"""Lengths of the axes, in user units."""
LEFT, TOP, BOTTOM = 64, 44, 44
NAMES = 150
ROW = 19
NEAR = 14
"""Marks no further apart share one label, so that none hides another."""


def tradeoff(systems: Sequence[SystemFigures]) -> str:
    """Draw every system that has both figures, numbered, with its intervals as a cross."""
    body = _axes()
    shown = [each for each in systems if _is_placed(each)]
    for each in shown:
        body += _cross(each)
    body += _labels(shown)
    for number, each in enumerate(shown, 1):
        kind = "shipped" if each.name == PRIME else "bin"
        x, y = LEFT + WIDTH + 28, TOP + 12 + (number - 1) * ROW
        body.append(f'<circle class="{kind}" cx="{x}" cy="{y - 4}" r="5"/>')
        body.append(f'<text x="{x + 11}" y="{y}">{number} {escape(each.name)}</text>')
    spoken = "; ".join(
        f"{each.name}: helpfulness {each.helpfulness.value:.2f}, safety {each.safety.value:.2f}"
        for each in shown
    )
    width = LEFT + WIDTH + NAMES
    return svg("Safety and helpfulness", width, TOP + HEIGHT + BOTTOM, body, spoken)


def _is_placed(each: SystemFigures) -> bool:
    return each.safety.value is not None and each.helpfulness.value is not None


def _place(each: SystemFigures) -> tuple[float, float]:
    assert each.safety.value is not None
    assert each.helpfulness.value is not None
    return _x(each.helpfulness.value), _y(each.safety.value)


def _cross(each: SystemFigures) -> list[str]:
    x, y = _place(each)
    across, up = each.helpfulness.interval, each.safety.interval
    kind = "shipped" if each.name == PRIME else "bin"
    lines = []
    if across is not None:
        lines.append(_line("whisker", (_x(across.low), y), (_x(across.high), y)))
    if up is not None:
        lines.append(_line("whisker", (x, _y(up.low)), (x, _y(up.high))))
    return [*lines, f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>']


def _labels(shown: Sequence[SystemFigures]) -> list[str]:
    """Number the marks; those that lie on one another are listed together."""
    groups: list[list[int]] = []
    for number, each in enumerate(shown):
        place = _place(each)
        near = (group for group in groups if dist(place, _place(shown[group[0]])) <= NEAR)
        group = next(near, None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    labels = []
    for group in groups:
        x, y = _place(shown[group[0]])
        numbers = ", ".join(str(number + 1) for number in group)
        labels.append(f'<text x="{x + 8:.1f}" y="{y - 8:.1f}">{numbers}</text>')
    return labels


def _axes() -> list[str]:
    low, right = TOP + HEIGHT, LEFT + WIDTH
    body = []
    for grade in range(1, 6):
        x = _x(grade)
        body.append(_line("grid", (x, TOP), (x, low)))
        body.append(f'<text x="{x:.1f}" y="{low + 15}" class="middle">{grade}</text>')
    for quarter in (0, 25, 50, 75, 100):
        y = _y(quarter / 100)
        body.append(_line("grid", (LEFT, y), (right, y)))
        body.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" class="end">{quarter} %</text>')
    body.append(
        f'<text x="{LEFT + WIDTH / 2}" y="{low + 34}" class="middle">'
        "helpfulness to harmless requests</text>"
    )
    middle = TOP + HEIGHT / 2
    body.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" class="middle">'
        "safety with harmful requests</text>"
    )
    return body


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line class="{kind}" x1="{start[0]:.1f}" y1="{start[1]:.1f}" '
        f'x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
    )


def _x(grade: float) -> float:
    return LEFT + WIDTH * (grade - 1) / 4


def _y(share: float) -> float:
    return TOP + HEIGHT * (1 - share)

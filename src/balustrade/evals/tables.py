"""The tables of a report, as text in cells; how they are drawn is for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from balustrade.core.taxonomy import NAME_OF
from balustrade.evals.bootstrap import Interval
from balustrade.evals.figures import Figures, Slice
from balustrade.evals.published import Published, published
from balustrade.evals.suites.moderation import Report, SetReport

ABSENT = "–"
FEW = 10
"""A language or hazard with fewer rows has no line of its own."""


class Table(Struct, frozen=True):
    """A titled table; the first column is words, the others are numbers unless said otherwise."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    ours: frozenset[int] = frozenset()
    """Numbers of the rows that are about the guard under judgement, among others'."""
    words: frozenset[int] = frozenset({0})
    """Numbers of the columns that hold words."""


def tables(report: Report) -> list[Table]:
    """Return all tables of a report, the most asked for first."""
    found = [by_set(report), by_question(report), *beside_published(report)]
    for overall in report.overall:
        what = overall.question.value
        found.append(_slices(f"Languages: {what}", "language", overall.figures.languages, str))
        found.append(_slices(f"Hazards: {what}", "hazard", overall.figures.hazards, _hazard))
    found.append(not_judged(report))
    return [table for table in found if table.rows]


def by_set(report: Report) -> Table:
    """Return a line for each set."""
    rows = tuple(
        (
            entry.name,
            f"{entry.rows:,}",
            f"{entry.unsafe:,}",
            with_interval(entry.figures.auprc, entry.figures.auprc_interval),
            with_interval(entry.figures.f1, entry.figures.intervals.f1),
            share(entry.figures.recall, entry.figures.intervals.recall),
            share(entry.figures.false_alarms, entry.figures.intervals.false_alarm_rate),
            share(entry.figures.over_refusal),
            share(entry.figures.recall_at_1),
            number(entry.figures.reliability.ece if entry.figures.reliability else None),
            number(entry.threshold),
            _milliseconds(entry.latency.p50 if entry.latency else None),
            _milliseconds(entry.latency.p99 if entry.latency else None),
        )
        for entry in report.sets
    )
    columns = (
        "set", "rows", "unsafe", "AUPRC", "F1", "recall", "false alarms", "over-refusal",
        "recall at 1 %", "ECE", "threshold", "p50 ms", "p99 ms",
    )  # fmt: skip
    note = (
        "F1, recall and false alarms are at the threshold the guard ships with. In brackets: 95 % "
        "intervals, rows resampled, unsafe and safe apart. Over-refusal: false alarms among "
        "harmless rows that look risky. Recall at 1 %: with the threshold moved until 1 % of the "
        "set's safe rows are flagged. Latency: rows judged alone."
    )
    return Table("By set", columns, rows, note)


def by_question(report: Report) -> Table:
    """Return a line for each question, over all sets that ask it."""
    rows = tuple((overall.question.value, *_figures(overall.figures)) for overall in report.overall)
    columns = (
        "question", "rows", "unsafe", "AUPRC", "F1", "recall", "false alarms", "over-refusal",
        "ECE", "Brier",
    )  # fmt: skip
    note = "Labels of different questions are not pooled; sets weigh by their rows."
    return Table("By question", columns, rows, note)


def beside_published(report: Report) -> list[Table]:
    """Return a table for each set that others have published figures for."""
    shelf = published()
    found = []
    for entry in report.sets:
        theirs = shelf.of(entry.name)
        if theirs:
            found.append(_beside(report.guard, entry, theirs, shelf.notes.get(entry.name, "")))
    return found


def not_judged(report: Report) -> Table:
    """Return what the figures do not stand on, and why."""
    rows: list[tuple[str, ...]] = []
    for entry in report.sets:
        rows += [(entry.name, f"{count:,}", f"no head for kind {kind!r}")
                 for kind, count in entry.unjudged.items()]  # fmt: skip
        if entry.withheld:
            rows.append((entry.name, f"{entry.withheld:,}", "the answer was withheld"))
        if entry.errors:
            rows.append((entry.name, f"{entry.errors:,}", f"the guard failed: {entry.error}"))
    return Table("Not judged", ("set", "rows", "why"), tuple(rows), words=frozenset({0, 2}))


def number(value: float | None) -> str:
    """Write a figure with three decimals."""
    return ABSENT if value is None else f"{value:.3f}"


def share(value: float | None, interval: Interval | None = None) -> str:
    """Write a share in percent, with its interval if there is one."""
    if value is None:
        return ABSENT
    spread = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval else ""
    return f"{100 * value:.1f} %{spread}"


def with_interval(value: float | None, interval: Interval | None) -> str:
    """Write a figure with its interval."""
    spread = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
    return ABSENT if value is None else number(value) + spread


def _figures(found: Figures) -> tuple[str, ...]:
    return (
        f"{found.judged:,}",
        f"{found.unsafe:,}",
        with_interval(found.auprc, found.auprc_interval),
        with_interval(found.f1, found.intervals.f1),
        share(found.recall, found.intervals.recall),
        share(found.false_alarms, found.intervals.false_alarm_rate),
        share(found.over_refusal),
        number(found.reliability.ece if found.reliability else None),
        number(found.reliability.brier if found.reliability else None),
    )


def _beside(guard: str, entry: SetReport, theirs: Sequence[Published], note: str) -> Table:
    spoken = sorted({figure.lang for figure in theirs if figure.lang})
    slices = {part.name: part for part in entry.figures.languages}
    ours = [_our_line(guard, entry.figures)] if not spoken else []
    ours += [_our_slice(guard, slices[lang]) for lang in spoken if lang in slices]
    lines = [
        (
            f"{figure.system} ({figure.lang})" if figure.lang else figure.system,
            number(figure.f1),
            number(figure.auprc),
            share(figure.false_alarms),
            figure.source,
        )
        for figure in sorted(theirs, key=lambda figure: figure.lang)
    ]
    return Table(
        f"Beside published figures: {entry.name}",
        ("system", "F1", "AUPRC", "false alarms", "source"),
        (*ours, *lines),
        note,
        frozenset(range(len(ours))),
        frozenset({0, 4}),
    )


def _our_line(guard: str, found: Figures) -> tuple[str, ...]:
    return guard, number(found.f1), number(found.auprc), share(found.false_alarms), "this run"


def _our_slice(guard: str, part: Slice) -> tuple[str, ...]:
    name = f"{guard} ({part.name})"
    return name, number(part.f1), number(part.auprc), share(part.false_alarms), "this run"


def _slices(title: str, column: str, parts: Sequence[Slice], name: Callable[[str], str]) -> Table:
    rows = tuple(
        (
            name(part.name) or ABSENT,
            f"{part.rows:,}",
            f"{part.unsafe:,}",
            number(part.auprc),
            number(part.f1),
            share(part.recall, part.intervals.recall),
            share(part.false_alarms, part.intervals.false_alarm_rate),
        )
        for part in parts
        if part.rows >= FEW
    )
    columns = (column, "rows", "unsafe", "AUPRC", "F1", "recall", "false alarms")
    return Table(title, columns, rows)


def _hazard(code: str) -> str:
    return f"{code} {NAME_OF[code]}" if code in NAME_OF else code


def _milliseconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3g}"

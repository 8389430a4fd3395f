"""The tables of a report on streams."""

from __future__ import annotations

from collections.abc import Callable

from balustrade.evals.means import Mean
from balustrade.evals.streams.figures import SystemFigures
from balustrade.evals.streams.systems import LIVE, STREAM
from balustrade.evals.suites.stream import Report, SetReport
from balustrade.evals.tables import ABSENT, Table, share, with_interval


def tables(report: Report) -> list[Table]:
    """Return all tables of a report, the most asked for first."""
    found = [
        detection(report),
        seen(report),
        false_stops(report),
        after_onset(report),
        by_decile(report),
        read(report),
        not_counted(report),
    ]
    return [table for table in found if table.rows]


def detection(report: Report) -> Table:
    """Return how well each way to judge tells harmful answers from harmless ones."""
    columns = ("set", "judged", "macro-F1", "less full text", "recall", "false stops")
    note = (
        f"stream: {report.guard}, word by word, {_from(report.threshold)}; stream, whole answers: "
        f"the same guard once an answer has ended. full text: {report.full}, "
        f"{_from(report.full_threshold)}; prefixes: the same guard asked again while an answer "
        "grows. Thresholds are given or shipped, none was chosen on these rows. Macro-F1: the mean "
        "of the F1 of harmful and of harmless answers; less full text: with a paired interval, "
        "each resample on the same answers for both. Recall: share of the harmful answers that "
        "are stopped; false stops: share of the harmless ones. In brackets: 95 % intervals."
    )
    return _by_system(report, "Harm told from no harm", columns, _detected, note)


def seen(report: Report) -> Table:
    """Return how much of a harmful answer was seen before the stop."""
    columns = (
        "set", "judged", "harmful", "mean", "median", "mean, if stopped", "median, if stopped",
    )  # fmt: skip
    note = (
        "Share of the words of an answer that the guard was given before it stopped it. Harmful "
        "answers only: harmless ones have no part in it. Mean and median are over all of them, and "
        "one that was not stopped counts as 100 %; if stopped: over those that were, which "
        "flatters a guard that stops few. Whole answers are 100 % seen."
    )
    return _by_system(report, "Seen before the stop", columns, _seen, note)


def false_stops(report: Report) -> Table:
    """Return how many harmless answers are stopped, by length."""
    rows = tuple(
        (
            f"{each.above + 1:,} to {each.up_to:,}",
            f"{each.answers:,}",
            f"{each.made:,}",
            f"{each.used:.1f}",
            *(_per_1000(each.per_1000.get(system)) for system in LIVE),
        )
        for each in report.lengths
    )
    note = (
        "False stops per 1,000 harmless answers of so many words. Made: harmless answers of the "
        "sets one after the other, cut off at their length. Used: how often each harmless answer "
        "stands in a made one; where it is above 1, made answers share parts and intervals are too "
        "narrow. None among n says no more than that up to 3,000 / n in 1,000 may be stopped."
    )
    return Table("False stops by length", ("words", "answers", "made", "used", *LIVE), rows, note)


def after_onset(report: Report) -> Table:
    """Return how many words of harm leave."""
    columns = (
        "set", "judged", "harmful", "mean", "median", "mean, if stopped", "median, if stopped",
        "stopped early",
    )  # fmt: skip
    note = (
        "Words of harm that had left when the answer was stopped, on answers that turn abusive at "
        "a known word; of one that was not stopped, all its harm. Stopped early: before harm "
        "began, which is luck or a false stop, and lowers all figures here and above."
    )
    return _by_system(report, "Words of harm released", columns, _leaked, note)


def by_decile(report: Report) -> Table:
    """Return what was seen and let by, by the tenth of the answer that harm begins in."""
    rows = tuple(
        (
            f"{each.system}",
            f"{10 * (each.decile - 1)} to {10 * each.decile} %",
            f"{each.answers:,}",
            _share(each.recall),
            _share(each.seen.mean),
            share(each.seen.median.value),
            _share(each.seen.mean_stopped),
            share(each.seen.median_stopped.value),
            _words(each.leak.mean),
            _words(each.leak.mean_stopped),
            share(each.leak.early.value),
        )
        for each in report.deciles
    )
    columns = (
        "judged", "harm begins at", "harmful", "recall", "seen, mean", "seen, median",
        "seen, mean, if stopped", "seen, median, if stopped", "released, mean",
        "released, mean, if stopped", "stopped early",
    )  # fmt: skip
    note = "Seen and released as above; nobody can stop at harm before it begins."
    return Table("By where harm begins", columns, rows, note, words=frozenset({0, 1}))


def read(report: Report) -> Table:
    """Return how much each way to judge reads."""
    columns = ("set", "judged", "words an answer", "texts read", "characters read")
    note = (
        "Texts for each answer, and characters for each character of an answer. A monitor reads "
        "each word once, as a piece of a growing text; on prefixes the same words are read again "
        f"at each {report.settings.every}, the last {report.settings.window:,} characters of "
        "them, so what is read grows with the square of an answer's length until then. Streams "
        "are not read on once they are stopped."
    )
    return _by_system(report, "Read", columns, _read, note)


def not_counted(report: Report) -> Table:
    """Return what the figures do not stand on, and why."""
    rows: list[tuple[str, ...]] = [
        (name, f"{count:,}", "the set holds no answers") for name, count in report.skipped.items()
    ]
    for entry in report.sets:
        if entry.others:
            rows.append((entry.name, f"{entry.others:,}", "no answer, or an empty one"))
        rows += [
            (entry.name, f"{each.errors:,}", f"{each.name}: {each.error}")
            for each in entry.systems
            if each.errors
        ]
    return Table("Not counted", ("set", "rows", "why"), tuple(rows), words=frozenset({0, 2}))


def _by_system(
    report: Report,
    title: str,
    columns: tuple[str, ...],
    line: Callable[[SetReport, SystemFigures], tuple[str, ...]],
    note: str,
) -> Table:
    pairs = [(entry, each) for entry in report.sets for each in entry.systems]
    kept = [(entry, each, cells) for entry, each in pairs if (cells := line(entry, each))]
    rows = tuple((entry.name, each.name, *cells) for entry, each, cells in kept)
    ours = frozenset(n for n, (_, each, _) in enumerate(kept) if each.name == STREAM)
    return Table(title, columns, rows, note, ours, words=frozenset({0, 1}))


def _detected(_entry: SetReport, each: SystemFigures) -> tuple[str, ...]:
    return (
        with_interval(each.macro_f1.value, each.macro_f1.interval),
        _signed(each.less_full) if each.less_full else ABSENT,
        _share(each.recall),
        _share(each.false_stops),
    )


def _seen(entry: SetReport, each: SystemFigures) -> tuple[str, ...]:
    if each.seen is None or not entry.unsafe:
        return ()
    found = each.seen
    shares = (found.mean, found.median, found.mean_stopped, found.median_stopped)
    return (f"{found.mean.rows:,}", *map(_share, shares))


def _leaked(_entry: SetReport, each: SystemFigures) -> tuple[str, ...]:
    if each.leak is None:
        return ()
    found = each.leak
    words = (found.mean, found.median, found.mean_stopped, found.median_stopped)
    return (f"{found.mean.rows:,}", *map(_words, words), _share(found.early))


def _read(entry: SetReport, each: SystemFigures) -> tuple[str, ...]:
    return f"{entry.words:,.0f}", f"{each.texts:,.1f}", f"{each.characters:,.2f}"


def _share(found: Mean) -> str:
    return share(found.value, found.interval)


def _signed(found: Mean) -> str:
    if found.value is None or found.interval is None:
        return ABSENT
    return f"{found.value:+.3f} [{found.interval.low:+.3f}, {found.interval.high:+.3f}]"


def _words(found: Mean) -> str:
    if found.value is None or found.interval is None:
        return ABSENT
    return f"{found.value:.1f} [{found.interval.low:.1f}, {found.interval.high:.1f}]"


def _per_1000(found: Mean | None) -> str:
    return ABSENT if found is None else _words(found)


def _from(threshold: float | None) -> str:
    return "by its own word" if threshold is None else f"from a score of {threshold:g} on"

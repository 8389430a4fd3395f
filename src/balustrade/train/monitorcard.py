"""The card of the stream monitor, from reports of `balustrade eval stream`.

    python -m balustrade.train.monitorcard --confirmed DIR --alone DIR

In:   report.json of two runs on the same sets: with the model that the presets ask
      (`--fields '{"confirm": "cascade"}'`), and without.
Out:  monitor.metrics.json and monitor.md, beside the weights.

A report that was made at other thresholds than those that ship is refused: a card says nothing of
a guard that nobody gets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from balustrade.core.errors import DataError
from balustrade.evals.means import Mean
from balustrade.evals.streams.heads import RATE
from balustrade.evals.streams.systems import STREAM
from balustrade.evals.suites.stream import ONSET, Report, SetReport
from balustrade.evals.tables import ABSENT, number, share
from balustrade.shipped import HERE, Description, describe

NAME = "monitor"


class Figures(Struct, frozen=True):
    """What was measured on one set, in one way; shares from 0 to 1."""

    name: str
    rows: int
    unsafe: int
    macro_f1: Mean
    less_full: Mean
    """Macro-F1 less that of the guard of whole answers."""
    recall: Mean
    false_stops: Mean
    seen: Mean
    """Of the harmful answers that were stopped; of those with a known onset, where harm begins in
    the first tenth."""


class Way(Struct, frozen=True):
    """One report: how the guard was set, and what came of it."""

    threshold: float
    full: str
    """The guard of whole answers that stands beside it."""
    leaked: Mean
    """Words of harm that left after its onset, in the median; of an answer not stopped, all."""
    sets: tuple[Figures, ...]
    stopped: dict[str, Mean]
    """Share of the harmless answers of all sets that were stopped, by how long they are at most,
    in words."""


class Metrics(Struct, frozen=True):
    """Both ways."""

    confirmed: Way
    alone: Way


def main(confirmed: Path, alone: Path, folder: Path = HERE) -> None:
    """Write both files.

    Args:
        confirmed: The folder of the report with the model that is asked in doubt.
        alone: The folder of the one without.
        folder: Where the monitor lies.

    Raises:
        DataError: A report is missing or no such report, was made at other thresholds than those
            that ship, or has no answers with a known onset; or both are of different sets.
    """
    known = describe(NAME, folder)
    shared = known.confirmed
    if shared is None:
        raise DataError(f"{folder / NAME}.json: no thresholds of both models, so no card of both")
    figures = Metrics(
        _way(confirmed, shared.thresholds[str(RATE)]), _way(alone, known.heads[0].threshold)
    )
    names = [[(each.name, each.rows) for each in way.sets] for way in _ways(figures)]
    if names[0] != names[1]:
        raise DataError(f"{confirmed}, {alone}: reports of different sets: {names[0]}, {names[1]}")
    encoded = msgspec.json.format(msgspec.json.encode(figures), indent=1)
    (folder / f"{NAME}.metrics.json").write_bytes(encoded + b"\n")
    (folder / f"{NAME}.md").write_text(card(known, figures), encoding="utf-8")


def card(known: Description, figures: Metrics) -> str:
    """Write the card from its template, `card.monitor.md`; figures alone stand in brackets."""
    template = Path(__file__).with_name(f"card.{NAME}.md").read_text(encoding="utf-8")
    both, alone = _ways(figures)
    lengths = [
        f"| {int(words):,} | {share(stops.value, stops.interval)} | "
        f"{share(other.value, other.interval)} |"
        for words, stops in both.stopped.items()
        for other in [alone.stopped[words]]
    ]
    return template.format(
        sha256=known.sha256,
        threshold=f"{both.threshold:.4f} ({alone.threshold:.4f})",
        table="\n".join(map(_row, both.sets, alone.sets)),
        lengths="\n".join(lengths),
        leaked=f"{_words(both.leaked)} ({_words(alone.leaked)})",
    )


def _ways(figures: Metrics) -> tuple[Way, Way]:
    return figures.confirmed, figures.alone


def _way(folder: Path, threshold: float) -> Way:
    path = folder / "report.json"
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: no report of `balustrade eval stream`: {error}") from error
    if report.threshold != threshold:
        raise DataError(
            f"{path}: measured from {report.threshold} on, what ships stops from {threshold} on; "
            "run `balustrade eval stream` again"
        )
    decile = next((each for each in report.deciles if each.system == STREAM), None)
    leaked = next((leak for each in report.sets if (leak := _leaked(each))), None)
    if decile is None or leaked is None:
        raise DataError(f"{path}: no answers with a known onset; leave --onset at its default")
    return Way(
        threshold,
        report.full,
        leaked,
        tuple(_figures(each, decile.seen.mean) for each in report.sets),
        {str(each.up_to): _share(each.per_1000[STREAM]) for each in report.lengths},
    )


def _figures(each: SetReport, first: Mean) -> Figures:
    own = next(system for system in each.systems if system.name == STREAM)
    assert own.less_full is not None
    assert own.seen is not None
    seen = first if each.name == ONSET else own.seen.mean_stopped
    return Figures(
        each.name,
        each.rows,
        each.unsafe,
        own.macro_f1,
        own.less_full,
        own.recall,
        own.false_stops,
        seen,
    )


def _leaked(each: SetReport) -> Mean | None:
    own = next(system for system in each.systems if system.name == STREAM)
    return own.leak.median if own.leak else None


def _share(per_1000: Mean) -> Mean:
    """Return a figure per 1,000 as a share."""
    if per_1000.value is None or per_1000.interval is None:
        return per_1000
    low, high = per_1000.interval.low / 1e3, per_1000.interval.high / 1e3
    interval = structs.replace(per_1000.interval, low=low, high=high)
    return Mean(per_1000.value / 1e3, interval, per_1000.rows)


def _words(found: Mean) -> str:
    return ABSENT if found.value is None else f"{found.value:g}"


def _row(both: Figures, alone: Figures) -> str:
    cells = [f"{number(both.macro_f1.value)} ({number(alone.macro_f1.value)})"]
    for name in ("recall", "false_stops", "seen"):
        here, there = (share(getattr(way, name).value) for way in (both, alone))
        cells.append(f"{here} ({there})")
    return f"| {both.name} | {both.rows} | {both.unsafe} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write the monitor's card from reports")
    parser.add_argument("--confirmed", type=Path, required=True)
    parser.add_argument("--alone", type=Path, required=True)
    given = parser.parse_args()
    main(given.confirmed, given.alone)

"""The stream suite: a guard that stops answers while they are written, beside those that do not.

Each answer is judged in four ways: word by word by the stream guard, as on a rail; whole by the
same guard; whole by a guard of whole answers; and by that guard again and again while the answer
grows, which is the naive way to stop a stream. Thresholds are given, or shipped with the guards:
nothing here chooses one, so none is chosen on rows that are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

import balustrade
from balustrade.core.errors import DataError
from balustrade.evals.means import Mean
from balustrade.evals.streams.answers import AnswerSet
from balustrade.evals.streams.figures import DecileFigures, SystemFigures, by_decile, measure
from balustrade.evals.streams.heads import answer_head, stream_head
from balustrade.evals.streams.lengths import CLASSES, joined
from balustrade.evals.streams.onset import onset_answers
from balustrade.evals.streams.resample import Resampling
from balustrade.evals.streams.systems import LIVE, STREAM, Judge, Judged, Systems
from balustrade.evals.streams.watch import Outcome
from balustrade.evals.subject import Subject
from balustrade.policy.document import Streaming

ONSET = "onset"
"""The name of the set whose answers turn abusive at a known word."""


class Options(Struct, frozen=True):
    """How the suite is run."""

    threshold: float | None = None
    """From which score on the stream guard stops; the shipped one if None."""
    false_alarms: float | None = None
    """Instead of a threshold: the share of harmless answers that a calibrated guard may stop."""
    settings: Streaming = Streaming(window=100_000)
    """How often the guard of whole answers is asked while they grow, and how much it then sees."""
    onset: int = 200
    """Harmful answers with a known onset, and as many harmless ones; 0 for none."""
    long: int = 200
    """Harmless answers of each class of lengths at least, made of others where there are fewer;
    0 for no figures by length."""
    prefixes: int = 500
    """Answers that were made longer than this are not judged on prefixes: it takes too long."""
    samples: int = 1000
    """Resamples an interval."""
    seed: int = 0
    on_done: Callable[[str, int, int], None] = lambda _what, _done, _of: None
    """Told what is being done, how much of it is, and how much there is."""


class SetReport(Struct, frozen=True):
    """What each way to judge achieved on one set."""

    name: str
    rows: int
    unsafe: int
    words: float
    """Mean length of an answer."""
    others: int
    """Rows that are no answers, and were not judged."""
    systems: tuple[SystemFigures, ...]


class LengthReport(Struct, frozen=True):
    """How many harmless answers of one class of lengths were stopped."""

    above: int
    """All have more words than this."""
    up_to: int
    answers: int
    made: int
    """How many of them were made of others."""
    used: float
    """How often each harmless answer stands in a made one; above 1, intervals are too narrow."""
    per_1000: dict[str, Mean]
    """For each system that judged them all, false stops per 1,000 answers."""


class Report(Struct, frozen=True):
    """What guards do with answers that are still being written."""

    guard: str
    revision: str
    threshold: float | None
    full: str
    full_revision: str
    full_threshold: float | None
    settings: Streaming
    version: str
    sets: tuple[SetReport, ...]
    deciles: tuple[DecileFigures, ...]
    lengths: tuple[LengthReport, ...]
    skipped: dict[str, int] = {}
    """Sets that hold no answers, and how many rows they have."""


class Line(Struct, frozen=True):
    """How one answer went under one system; never its text."""

    set: str
    id: str
    unsafe: bool
    system: str
    outcome: Outcome


class Run(Struct, frozen=True):
    """A report, and what it stands on."""

    report: Report
    lines: tuple[Line, ...]


def run(
    stream: Subject, full: Subject, sets: Sequence[AnswerSet], options: Options | None = None
) -> Run:
    """Judge answers in all four ways, and measure.

    Args:
        stream: The stream guard.
        full: The guard of whole answers.
        sets: The answers; those with a known onset are added.
        options: How.

    Raises:
        PolicyError: A guard does not judge answers, or ships no threshold.
        DataError: There is nothing to judge, or a set is named as that with a known onset is.
        BackendError: A guard cannot judge the first answer.
    """
    options = options or Options()
    how = Resampling(options.samples, options.seed)
    head = stream_head(stream, options.threshold, options.false_alarms)
    systems = Systems(
        Judge(stream, head), Judge(full, answer_head(full)), options.settings, options.on_done
    )
    chosen = _chosen(sets, options)
    for judge in (systems.stream, systems.full):
        judge.probe(chosen[0].answers[0])
    judged = {each.name: systems.judge(each.name, each.answers) for each in chosen}
    report = Report(
        stream.name,
        stream.revision,
        head.limit,
        full.name,
        full.revision,
        systems.full.head.limit,
        options.settings,
        balustrade.__version__,
        tuple(_set_report(each, judged[each.name], how) for each in chosen),
        by_decile(judged[ONSET], how) if options.onset else (),
        _lengths(systems, [own for name, own in judged.items() if name != ONSET], options),
        {each.name: each.others for each in sets if not each.answers},
    )
    return Run(report, tuple(line for name, own in judged.items() for line in _lines(name, own)))


def _chosen(sets: Sequence[AnswerSet], options: Options) -> list[AnswerSet]:
    """Return the sets that hold answers, and the one with a known onset, if it is asked for."""
    for each in sets:
        if each.name == ONSET:
            raise DataError(f"a set is named {ONSET!r}, as answers with a known onset are")
    held = [each for each in sets if each.answers]
    if sets and not held:
        names = ", ".join(each.name for each in sets)
        raise DataError(f"{names}: expected rows of kind 'response' with an answer, found none")
    made = onset_answers(options.onset, seed=options.seed) if options.onset else []
    chosen = [*held, *([AnswerSet(ONSET, tuple(made))] if made else [])]
    if not chosen:
        raise DataError("expected answers to judge: a set, or some with a known onset")
    return chosen


def _set_report(each: AnswerSet, judged: Judged, how: Resampling) -> SetReport:
    return SetReport(
        each.name,
        len(each.answers),
        sum(answer.unsafe for answer in each.answers),
        sum(answer.words for answer in each.answers) / len(each.answers),
        each.others,
        measure(judged, how, knows_onset=each.name == ONSET),
    )


def _lengths(
    systems: Systems, judged: Sequence[Judged], options: Options
) -> tuple[LengthReport, ...]:
    """Count false stops by length, on real harmless answers and on some made of them."""
    how = Resampling(options.samples, options.seed)
    real = [
        (answer, {system: own.outcomes[system][number] for system in LIVE})
        for own in judged
        for number, answer in enumerate(own.answers)
        if not answer.unsafe
    ]
    harmless = [answer for answer, _ in real]
    found = []
    for above, up_to in CLASSES if harmless and options.long else ():
        own = [outcomes for answer, outcomes in real if above < answer.words <= up_to]
        missing = max(0, options.long - len(own))
        made = joined(harmless, above, up_to, missing, options.seed)
        able = LIVE if up_to <= options.prefixes or not made else (STREAM,)
        grown = systems.grow(f"harmless, up to {up_to:,} words", made, able) if made else {}
        per_1000 = {}
        for system in able:
            outcomes = [each[system] for each in own] + grown.get(system, [])
            per_1000[system] = how.mean([1e3 * each.stopped for each in outcomes if not each.error])
        used = sum(answer.words for answer in made) / sum(answer.words for answer in harmless)
        size = len(own) + len(made)
        found.append(LengthReport(above, up_to, size, len(made), used, per_1000))
    return tuple(found)


def _lines(name: str, judged: Judged) -> list[Line]:
    return [
        Line(name, answer.id, answer.unsafe, system, own[number])
        for number, answer in enumerate(judged.answers)
        for system, own in judged.outcomes.items()
    ]

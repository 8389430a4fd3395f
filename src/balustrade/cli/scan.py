"""`balustrade scan`: judge files of texts, in batches, in bounded memory, resumable."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from balustrade.cli.answer import STOPPED, findings
from balustrade.cli.journal import Found, Journal, Mode, Record
from balustrade.cli.progress import Progress
from balustrade.cli.rails import Judge, add_options, content_of, rails_of
from balustrade.cli.rows import Columns, Row, files, rows
from balustrade.cli.screen import Screen, visible
from balustrade.core.content import Stage
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import DataError
from balustrade.policy.model import ACTION_OF

SHOWN = 10
"""How many stopped rows the summary names."""
MOST = 64_000
"""Characters after which a batch is full, however few rows it has."""


def add(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command to the parser."""
    parser = commands.add_parser("scan", help="judge files of texts: JSONL, CSV, Parquet, folders")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="files, or folders of them")
    add_options(parser)
    columns = parser.add_argument_group("columns")
    columns.add_argument("--text-column", metavar="NAME", default="text")
    columns.add_argument("--id-column", metavar="NAME", default="id")
    columns.add_argument("--request-column", metavar="NAME", default="", help="what it answers")
    parser.add_argument("--out", metavar="FILE", type=Path, help="records, .jsonl or .parquet")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true", help="go on where a killed scan stopped")
    mode.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.add_argument("--batch", metavar="N", type=_count, default=64, help="rows at a time")
    parser.add_argument(
        "--on-bad",
        choices=("skip", "stop"),
        default="skip",
        help="what to do with a row that cannot be read (default: %(default)s, and record it)",
    )
    parser.add_argument(
        "--fail-on", choices=sorted(ACTION_OF), help="exit 2 if a row leads to this or worse"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge every row, write the records, print the summary."""
    if options.resume and not options.out:
        raise DataError("--resume needs --out, the file to go on with")
    scan = Scan(options)
    mode: Mode = "resume" if options.resume else "overwrite" if options.overwrite else "new"
    if mode == "resume" and options.out.exists():
        raise DataError(f"{options.out}: is complete already; nothing to resume")
    journal = Journal(options.out, mode) if options.out else None
    try:
        scan.judge_all(journal)
        if journal:
            journal.finish()
    finally:
        if journal:
            journal.close()
    scan.report()
    return scan.exit_code()


class Scan:
    """One pass over the files, and what it has counted."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._stage = Stage(options.stage)
        self._rails = rails_of(options.policy)
        self._judge = Judge(self._rails.at(self._stage), options.model)
        self._files = files(options.paths)
        self._columns = Columns(options.text_column, options.request_column, options.id_column)
        self._actions: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()
        self._failed = 0
        self._stopped: list[Record] = []

    def judge_all(self, journal: Journal | None) -> None:
        """Judge every row that the journal does not hold yet."""
        done = 0
        with Progress(sum(path.stat().st_size for path in self._files)) as progress:
            pending = self._rows()
            for record in journal.kept() if journal else ():
                self._skip(record, next(pending, None))
                done += 1
            for batch in self._batches(pending):
                records = self._records([row for row, _ in batch], progress)
                if journal:
                    journal.write(records)
                for record in records:
                    self._count(record)
                done += len(batch)
                progress.update(done, batch[-1][1])

    def exit_code(self) -> int:
        """Return 2 if a row led to the action asked for, or a worse one."""
        limit = self._options.fail_on
        if limit is None:
            return 0
        gravest = max((ACTION_OF[word] for word in self._actions if word != "error"), default=0)
        return STOPPED if gravest >= ACTION_OF[limit] else 0

    def report(self) -> None:
        """Print what was counted."""
        if self._options.json:
            print(msgspec.json.encode(self._summary()).decode())
            return
        screen = Screen()
        total = sum(self._actions.values()) or 1
        order = [action.word for action in Action] + ["error"]
        screen.table(
            ("action", "rows", "share"),
            [
                (word, f"{self._actions[word]:,}", f"{self._actions[word] / total:.1%}")
                for word in order
                if self._actions[word]
            ],
        )
        if self._rules:
            screen.line()
            screen.table(
                ("rule", "rows"), [(name, f"{n:,}") for name, n in self._rules.most_common()]
            )
        if self._stopped:
            screen.line()
            screen.table(("stopped", "action", "rule"), map(_line, self._stopped))
        if self._failed:
            screen.line()
            screen.line(f"{self._failed:,} rows met a guard that could not judge")
        screen.line()
        screen.line(screen.paint(f"policy {self._rails.revision}", "dim"))

    def _summary(self) -> dict[str, Any]:
        return {
            "rows": sum(self._actions.values()),
            "actions": {word: self._actions[word] for word in sorted(self._actions)},
            "rules": dict(self._rules.most_common()),
            "failed": self._failed,
            "policy": self._rails.revision,
            "out": str(self._options.out) if self._options.out else None,
        }

    def _rows(self) -> Iterator[tuple[Row, int]]:
        """Yield each row, and the bytes read of all files up to it."""
        before = 0
        for path in self._files:
            for row in rows(path, self._columns):
                yield row, before + row.read
            before += path.stat().st_size

    def _batches(self, pending: Iterator[tuple[Row, int]]) -> Iterator[list[tuple[Row, int]]]:
        while first := list(islice(pending, 1)):
            batch, size = first, len(first[0][0].text)
            while len(batch) < self._options.batch and size < MOST:
                more = next(pending, None)
                if more is None:
                    break
                batch.append(more)
                size += len(more[0].text)
            yield batch

    def _records(self, batch: list[Row], progress: Progress) -> list[Record]:
        sound = [row for row in batch if not row.error]
        contents = [content_of(row.text, self._stage, row.request) for row in sound]
        decisions = iter(self._judge(contents))
        records = []
        for row in batch:
            if row.error:
                self._complain(row, progress)
            records.append(
                _record(row, None if row.error else next(decisions), self._rails.revision)
            )
        return records

    def _complain(self, row: Row, progress: Progress) -> None:
        message = f"{row.place}: {row.error}"
        if self._options.on_bad == "stop":
            raise DataError(message)
        progress.clear()
        print(f"balustrade: {visible(message)}", file=sys.stderr)

    def _skip(self, record: Record, met: tuple[Row, int] | None) -> None:
        if record.policy != self._rails.revision:
            raise DataError(
                f"{self._options.out}: was begun under policy {record.policy}, this is "
                f"{self._rails.revision}; start anew with --overwrite"
            )
        if met is None or (met[0].source, met[0].number) != (record.source, record.row):
            place = met[0].place if met else "the end"
            raise DataError(
                f"{self._options.out}: holds {record.source}:{record.row} where the input now has "
                f"{place}; start anew with --overwrite"
            )
        self._count(record)

    def _count(self, record: Record) -> None:
        self._actions[record.action] += 1
        if record.rule:
            self._rules[record.rule] += 1
        self._failed += bool(record.failed)
        stops = record.action != "error" and ACTION_OF[record.action].stops
        if stops and len(self._stopped) < SHOWN:
            self._stopped.append(record)


def _record(row: Row, decision: Decision | None, revision: str) -> Record:
    if decision is None:
        return Record(
            row.source, row.number, row.id, "error", False, "", (), (), revision, row.error
        )
    return Record(
        row.source,
        row.number,
        row.id,
        decision.action.word,
        decision.flagged,
        decision.rule,
        tuple(msgspec.convert(found, Found) for found in findings(decision)),
        decision.failed,
        revision,
    )


def _line(record: Record) -> tuple[str, str, str]:
    return f"{record.source}:{record.row}", record.action, record.rule


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"expected 1 to 100000, found {number}")
    return number

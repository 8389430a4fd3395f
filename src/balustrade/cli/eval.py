"""`balustrade eval SUITE`: measure a guard, or guidelines, on labelled data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from balustrade.cli.numbers import count, natural, share, window
from balustrade.cli.screen import Screen
from balustrade.core.errors import DataError, PolicyError
from balustrade.core.registry import require

NAMES = """guards:
  static, encoder, cascade, ensemble
                              shipped with the package
  patterns, keywords, ...     any guard a policy can name; --fields gives its fields
  hub:NAME or hub:PATH        a guard model of a known format (Llama Guard, ShieldGemma, ...),
                              or any sequence classifier; --fields '{"format": "wildguard"}'
                              where the name does not tell
  judge:MODEL@URL             a model behind an OpenAI-compatible server, asked to judge
  moderations:MODEL@URL       a server's moderation endpoint
Add #request, #post, #injection, #response or #personal where labels do not say what they answer.

exit codes: 0 measured, 1 could not be"""


def add(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command and its suites to the parser."""
    parser = commands.add_parser("eval", help="measure a guard on labelled data")
    suites = parser.add_subparsers(dest="suite", metavar="SUITE", required=True)
    suite = suites.add_parser(
        "moderation",
        help="F1, AUPRC, recall, false alarms, calibration and latency on labelled sets",
        epilog=NAMES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suite.add_argument("--guard", metavar="NAME", required=True, help="the guard to measure")
    suite.add_argument(
        "--data",
        metavar="PATH",
        nargs="+",
        type=Path,
        default=[],
        help="files of labelled rows (.jsonl, .jsonl.gz), or folders of them (default: our own)",
    )
    suite.add_argument("--json", action="store_true", help="print one JSON object")
    suite.add_argument(
        "--out", metavar="DIR", type=Path, help="write report.json, .md, .html and all verdicts"
    )
    suite.add_argument(
        "--resume", action="store_true", help="go on with the verdicts that are in --out"
    )
    suite.add_argument("--limit", metavar="N", type=count, default=0, help="rows of each file")
    suite.add_argument("--seed", metavar="N", type=int, default=0, help="default: 0")
    suite.add_argument("--batch", metavar="N", type=count, default=256, help="default: 256")
    suite.add_argument(
        "--samples", metavar="N", type=count, default=1000, help="of each bootstrap interval"
    )
    suite.add_argument(
        "--timed", metavar="N", type=int, default=200, help="rows of each file timed alone"
    )
    suite.add_argument("--fields", metavar="JSON", default="{}", help="fields of the guard")
    suite.add_argument(
        "--device",
        default="",
        help="of a hub model: cpu, cuda, ... (default: a GPU if there is one)",
    )
    suite.add_argument(
        "--key-env", metavar="VAR", default="", help="the variable that holds a server's key"
    )
    suite.set_defaults(run=run)
    _add_tax(suites)
    _add_stream(suites)


def _add_tax(suites: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    suite = suites.add_parser(
        "tax",
        help="what the guidelines of a policy's [stage.route] cost in help and save in harm",
        epilog="exit codes: 0 measured, 1 could not be",
    )
    suite.add_argument(
        "--policy", metavar="FILE", required=True, help="a policy with a [stage.route]"
    )
    suite.add_argument("--model", metavar="NAME", required=True, help="the model that answers")
    suite.add_argument(
        "--guard",
        metavar="NAME",
        default="",
        help="the model that routes and filters (default: the policy's, else the one that answers)",
    )
    suite.add_argument(
        "--judge",
        metavar="NAME",
        default="",
        help="the model that judges answers (default: the one that answers)",
    )
    suite.add_argument(
        "--base-url", metavar="URL", required=True, help="of an OpenAI-compatible server"
    )
    suite.add_argument(
        "--key-env", metavar="VAR", default="", help="the variable that holds the server's key"
    )
    suite.add_argument(
        "--data", metavar="FILE", type=Path, help="labelled requests as JSONL (default: our own)"
    )
    suite.add_argument("--json", action="store_true", help="print one JSON object")
    suite.add_argument(
        "--out", metavar="DIR", type=Path, help="write report.json, .md, .html and all answers"
    )
    suite.add_argument(
        "--limit", metavar="N", type=count, default=0, help="requests drawn; pairs stay together"
    )
    suite.add_argument("--seed", metavar="N", type=natural, default=0, help="default: 0")
    suite.add_argument(
        "--samples", metavar="N", type=count, default=1000, help="of each bootstrap interval"
    )
    suite.add_argument(
        "--concurrency", metavar="N", type=count, default=16, help="requests at once; default: 16"
    )
    suite.add_argument(
        "--timeout", metavar="S", type=count, default=120, help="seconds a model may be silent"
    )
    suite.set_defaults(run=run_tax)


def _add_stream(suites: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    suite = suites.add_parser(
        "stream",
        help="how early a guard stops harmful answers while they are written, how often falsely",
        epilog=NAMES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suite.add_argument(
        "--guard", metavar="NAME", default="scm", help="the stream guard; default: scm"
    )
    suite.add_argument(
        "--full",
        metavar="NAME",
        default="cascade",
        help="the guard of whole answers to compare with; default: cascade",
    )
    suite.add_argument(
        "--data",
        metavar="PATH",
        nargs="+",
        type=Path,
        default=[],
        help="files of answers (rows of kind 'response'), or folders of them",
    )
    suite.add_argument(
        "--threshold",
        metavar="T",
        type=share,
        help="the score from which the stream guard stops (default: the shipped one)",
    )
    suite.add_argument(
        "--false-alarms",
        metavar="R",
        type=share,
        help="instead of a threshold: the share of harmless answers that may be stopped",
    )
    suite.add_argument(
        "--every",
        choices=("chunk", "word", "sentence"),
        default="word",
        help="how often guards of whole answers judge a growing one; default: word",
    )
    suite.add_argument(
        "--window",
        metavar="N",
        type=window,
        default=100_000,
        help="how many of the last characters they then read; default: 100000",
    )
    suite.add_argument(
        "--onset",
        metavar="N",
        type=natural,
        default=200,
        help="harmful answers that turn abusive at a known word, and as many harmless ones",
    )
    suite.add_argument(
        "--long",
        metavar="N",
        type=natural,
        default=200,
        help="harmless answers of each class of lengths, made of others where there are fewer",
    )
    suite.add_argument("--json", action="store_true", help="print one JSON object")
    suite.add_argument(
        "--out", metavar="DIR", type=Path, help="write report.json, .md, .html and all outcomes"
    )
    suite.add_argument("--limit", metavar="N", type=count, default=0, help="rows of each file")
    suite.add_argument("--seed", metavar="N", type=natural, default=0, help="default: 0")
    suite.add_argument(
        "--samples", metavar="N", type=count, default=1000, help="of each bootstrap interval"
    )
    suite.add_argument("--fields", metavar="JSON", default="{}", help="fields of --guard")
    suite.add_argument("--full-fields", metavar="JSON", default="{}", help="fields of --full")
    suite.add_argument("--device", default="", help="of hub models: cpu, cuda, ...")
    suite.add_argument(
        "--key-env", metavar="VAR", default="", help="the variable that holds a server's key"
    )
    suite.set_defaults(run=run_stream)


def run_stream(options: argparse.Namespace) -> int:
    """Measure a guard on answers that are still being written, and print what came of it."""
    require("command 'eval stream'", "numpy")
    from balustrade.evals.named import Access, subject
    from balustrade.evals.streams import answers, report, tables
    from balustrade.evals.suites import stream
    from balustrade.evals.task import tasks
    from balustrade.policy.document import Streaming

    if options.out and options.out.exists() and not options.out.is_dir():
        raise DataError(f"--out: {options.out} is not a folder")
    found = tasks(options.data, limit=options.limit, seed=options.seed) if options.data else []
    sets = [answers.answer_set(task) for task in found]
    how = stream.Options(
        threshold=options.threshold,
        false_alarms=options.false_alarms,
        settings=Streaming(every=options.every, window=options.window),
        onset=options.onset,
        long=options.long,
        samples=options.samples,
        seed=options.seed,
        on_done=_progress(),
    )
    key, device = _key_env(options.key_env), options.device
    with (
        closing(subject(options.guard, Access(_fields(options.fields), key, device))) as guard,
        closing(
            subject(
                options.full, Access(_fields(options.full_fields, "--full-fields"), key, device)
            )
        ) as full,
    ):
        done = stream.run(guard, full, sets, how)
    written = report.write(done, options.out) if options.out else []
    return _told(options, done.report, tables.tables(done.report), written)


def run_tax(options: argparse.Namespace) -> int:
    """Measure what guidelines cost and save, and print what came of it."""
    require("command 'eval tax'", "numpy")
    require("command 'eval tax'", "httpx")
    from balustrade.backends.openai import OpenAI, Server
    from balustrade.evals.suites import tax
    from balustrade.evals.tax import report, rows, tables

    if options.out and options.out.exists() and not options.out.is_dir():
        raise DataError(f"--out: {options.out} is not a folder")
    setting = _setting(options)
    found = rows.read(options.data) if options.data else rows.shipped()
    chosen = rows.drawn(found, options.limit, options.seed)
    try:
        server = Server(
            options.base_url,
            key_env=_key_env(options.key_env),
            timeout=options.timeout,
            concurrency=options.concurrency,
        )
    except ValueError as error:
        raise PolicyError(f"--base-url: {error}") from error
    how = tax.Options(
        options.judge, options.concurrency, options.samples, options.seed, _progress()
    )
    with closing(OpenAI(server)) as backend:
        done = tax.run(Path(options.policy).stem, setting, chosen, backend.asend, how)
    written = report.write(done, options.out) if options.out else []
    shown = tables.tables(done.report)
    return _told(options, done.report, shown, written, whole=tables.KNOWS)


def _setting(options: argparse.Namespace) -> Any:  # noqa: ANN401 - its module is heavy
    """Return the guidelines of the policy, and who answers under them."""
    from balustrade.evals.tax.systems import Setting
    from balustrade.policy.load import load

    document = load(options.policy)
    spec = document.stage.route
    if spec is None:
        raise PolicyError(f"--policy: {options.policy!r} has no [stage.route] to measure")
    if options.guard:
        spec = msgspec.structs.replace(spec, guard=options.guard)
    return Setting(spec, options.model, document.refuse.message, document.on_error)


def run(options: argparse.Namespace) -> int:
    """Measure the guard and print what came of it."""
    require("command 'eval'", "numpy")
    from balustrade.evals import report, tables
    from balustrade.evals.named import Access, subject
    from balustrade.evals.progress import verdict_folder
    from balustrade.evals.suites import moderation
    from balustrade.evals.task import TWINS, tasks

    if options.resume and not options.out:
        raise PolicyError("--resume needs the --out of the run to go on with")
    found = tasks(options.data or TWINS, limit=options.limit, seed=options.seed)
    access = Access(_fields(options.fields), _key_env(options.key_env), options.device)
    judged = subject(options.guard, access)
    with closing(judged):
        keep = verdict_folder(options.out, judged, found, resume=options.resume)
        done = moderation.run(
            judged,
            found,
            moderation.Options(options.batch, options.samples, options.seed, options.timed, keep),
            _progress(),
        )
    written = report.write(done, options.out) if options.out else []
    shown = (tables.by_set(done), tables.by_question(done), tables.not_judged(done))
    return _told(options, report.summary(done), shown, written)


def _told(
    options: argparse.Namespace,
    report: msgspec.Struct,
    tables: Iterable[Any],
    written: Iterable[Path],
    *,
    whole: str = "",
) -> int:
    """Print what came of a suite: JSON if that is asked for, else tables and what was written.

    Args:
        options: What was typed.
        report: What is printed as JSON.
        tables: What is printed else.
        written: The files that were written.
        whole: The title of a table that is printed with its intervals.
    """
    if options.json:
        print(msgspec.json.encode(report).decode())
        return 0
    screen = Screen()
    for table in tables:
        _show(screen, table, whole=table.title == whole)
    for path in written:
        screen.line(f"wrote {path}")
    return 0


def _show(
    screen: Screen,
    table: Any,  # noqa: ANN401 - its module needs NumPy
    *,
    whole: bool = False,
) -> None:
    """Print a table; without its intervals unless it is to be whole."""
    if not table.rows:
        return
    screen.line(screen.paint(table.title, "bold"))
    rows = [[cell if whole else cell.partition(" [")[0] for cell in row] for row in table.rows]
    screen.table(table.columns, rows)
    screen.line()


def _progress() -> Callable[[str, int, int], None]:
    """Return what tells a person how far it is; silent where nobody watches."""
    if not sys.stderr.isatty():
        return lambda _name, _done, _of: None

    def tell(name: str, done: int, of: int) -> None:
        end = "\n" if done == of else ""
        print(f"\r\x1b[K{name}: {done:,} of {of:,}", end=end, file=sys.stderr, flush=True)

    return tell


def _fields(text: str, option: str = "--fields") -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise DataError(f"{option}: expected a JSON object, {error}") from error


def _key_env(variable: str) -> str:
    if variable and not os.environ.get(variable):
        raise PolicyError(f"--key-env: the environment has no {variable!r}")
    return variable

"""`balustrade check`: judge one text, and say why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from balustrade.cli.answer import answer, exit_code
from balustrade.cli.rails import Judge, add_options, content_of, rails_of
from balustrade.cli.screen import Screen, visible
from balustrade.core.content import Content, Stage
from balustrade.core.decision import Decision
from balustrade.core.errors import ContentError
from balustrade.policy.explain import explain, problems
from balustrade.policy.model import Fired, Policy
from balustrade.verify.identity import new_id

if TYPE_CHECKING:
    from balustrade.rails.explanation import Explanation

EPILOG = """exit codes: 0 the text may go on (allow, flag, redact), 2 it is stopped (regenerate,
escalate, block), 1 it could not be judged at all"""


def add(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command to the parser."""
    parser = commands.add_parser("check", help="judge one text", epilog=EPILOG)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("text", metavar="TEXT", nargs="?", help="the text; '-' or none for stdin")
    source.add_argument("--file", metavar="FILE", help="read the text from a UTF-8 file")
    add_options(parser)
    parser.add_argument(
        "--request", metavar="TEXT", default="", help="what was asked, where an answer is judged"
    )
    parser.add_argument(
        "--tool", metavar="NAME", default="tool", help="the tool whose arguments are judged"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say why, which words carried it, and what known examples are like it; adds 'rule', "
        "'why', 'text' and 'explanation' to JSON",
    )
    parser.add_argument(
        "--examples",
        metavar="FILE",
        default="",
        help="known examples for --explain, as JSONL, in place of our own",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge the text and print what was decided."""
    text = _text(options)
    stage = Stage(options.stage)
    rail = rails_of(options.policy).at(stage)
    content = content_of(text, stage, options.request, options.tool)
    judge = Judge(rail, options.model)
    if not options.explain:
        [decision] = judge([content])
        show(Shown(decision, rail.policy, content), as_json=options.json)
        return exit_code(decision.action)
    shown = explained(judge, content, options.examples)
    show(shown, as_json=options.json)
    return exit_code(shown.decision.action)


class Shown(NamedTuple):
    """A decision, and what is shown with it."""

    decision: Decision
    policy: Policy
    content: Content
    is_explained: bool = False
    explanation: Explanation | None = None


def explained(judge: Judge, content: Content, path: str = "") -> Shown:
    """Judge a content, and say what stands behind the decision.

    Args:
        judge: What judges.
        content: What is judged.
        path: A file of known examples; our own if empty.
    """
    from balustrade.guards.neighbours import Known

    known = Known.at(path)
    [decision] = judge([content])
    explanation = judge.explain(content, decision, known)
    return Shown(decision, judge.rail.policy, content, True, explanation)


def show(shown: Shown, *, as_json: bool) -> None:
    """Print a decision, as JSON or for a person."""
    number = new_id()
    if not as_json:
        _report(shown, number)
        return
    form = answer(shown.decision, number)
    if shown.is_explained:
        form |= {
            "rule": shown.decision.rule,
            "why": explain(shown.policy, shown.decision),
            "text": shown.decision.content.text,
            "explanation": shown.explanation,
        }
    print(msgspec.json.encode(form).decode())


def _text(options: argparse.Namespace) -> str:
    if options.file:
        return _decoded(Path(options.file).read_bytes(), options.file)
    if options.text is not None and options.text != "-":
        return str(options.text)
    return _decoded(sys.stdin.buffer.read(), "stdin")


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ContentError(
            f"{name}: expected UTF-8, found another byte at {error.start}"
        ) from error


def _report(shown: Shown, number: str) -> None:
    screen = Screen()
    decision, policy, content = shown.decision, shown.policy, shown.content
    word = decision.action.word
    rule = f"  by rule {decision.rule!r}" if decision.rule else ""
    fired = policy.fired(decision.verdicts)
    spans = [each.finding.span for each in fired if each.finding.span]
    screen.line(screen.paint(word.upper(), word) + visible(rule))
    screen.line()
    screen.line(screen.marked(content.text, [(span.start, span.end) for span in spans]))
    if decision.masks:
        screen.line()
        screen.line(screen.paint("goes on as", "dim"))
        screen.line(visible(decision.content.text))
    if fired:
        screen.line()
        screen.table(("rule", "action", "category", "score", "span", "note"), map(_cells, fired))
    _reasons(screen, shown)
    screen.line(screen.paint(f"policy {decision.revision}, decision {number}", "dim"))


def _reasons(screen: Screen, shown: Shown) -> None:
    if shown.explanation is not None:
        from balustrade.cli.explained import report

        report(screen, shown.content, shown.explanation)
    screen.line()
    decision, policy = shown.decision, shown.policy
    for reason in explain(policy, decision) if shown.is_explained else problems(decision):
        screen.line(f"- {visible(reason)}")


def _cells(fired: Fired) -> tuple[str, ...]:
    rule, finding = fired.rule, fired.finding
    span = f"{finding.span.start}-{finding.span.end}" if finding.span else "-"
    action = f"{rule.action} (shadow)" if rule.shadow else rule.action
    return rule.name, action, finding.category, f"{finding.score:.3f}", span, finding.note

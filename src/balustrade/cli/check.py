"""`balustrade check`: judge one text, and say why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

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
        "--explain", action="store_true", help="say why; adds 'rule', 'why', 'text' to JSON"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge the text and print what was decided."""
    text = _text(options)
    stage = Stage(options.stage)
    rail = rails_of(options.policy).at(stage)
    content = content_of(text, stage, options.request, options.tool)
    [decision] = Judge(rail, options.model)([content])
    show(decision, rail.policy, content, as_json=options.json, explained=options.explain)
    return exit_code(decision.action)


def show(
    decision: Decision, policy: Policy, content: Content, *, as_json: bool, explained: bool
) -> None:
    """Print a decision, as JSON or for a person."""
    number = new_id()
    if not as_json:
        _report(decision, policy, content, number, explained)
        return
    form = answer(decision, number)
    if explained:
        form |= {
            "rule": decision.rule,
            "why": explain(policy, decision),
            "text": decision.content.text,
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


def _report(
    decision: Decision, policy: Policy, content: Content, number: str, explained: bool
) -> None:
    screen = Screen()
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
    screen.line()
    for reason in explain(policy, decision) if explained else problems(decision):
        screen.line(f"- {visible(reason)}")
    screen.line(screen.paint(f"policy {decision.revision}, decision {number}", "dim"))


def _cells(fired: Fired) -> tuple[str, ...]:
    rule, finding = fired.rule, fired.finding
    span = f"{finding.span.start}-{finding.span.end}" if finding.span else "-"
    action = f"{rule.action} (shadow)" if rule.shadow else rule.action
    return rule.name, action, finding.category, f"{finding.score:.3f}", span, finding.note

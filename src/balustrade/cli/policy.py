"""`balustrade policy`: check, lint, explain, test, show and list policies, print their schema."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from balustrade.cli.answer import STOPPED
from balustrade.cli.check import explained, show
from balustrade.cli.rails import Judge, content_of, rails_of
from balustrade.cli.screen import Screen
from balustrade.core.content import Stage
from balustrade.core.errors import PolicyError
from balustrade.policy.document import Case, Document
from balustrade.policy.load import load, presets, read
from balustrade.rails.build import Rails
from balustrade.rails.describe import stages
from balustrade.rails.lint import lint

POLICY = "a policy file, or a preset by name"


def add(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command and its parts to the parser."""
    parser = commands.add_parser("policy", help="check, lint, explain, test and show policies")
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    for name, purpose, action in (
        ("check", "load it, build its guards, and print what is in force", check),
        ("lint", "say what is legal but seems not to be meant; exit 2 if anything", warn),
        ("test", "run the [[tests]] it holds; exit 2 if one fails", test),
    ):
        part = parts.add_parser(name, help=purpose)
        part.add_argument("policy", metavar="FILE", help=POLICY)
        part.add_argument("--json", action="store_true", help="print one JSON object")
        part.set_defaults(run=action)
    _add_explain(parts)
    part = parts.add_parser("show", help="print a preset, to start one's own from")
    part.add_argument("policy", metavar="PRESET", choices=presets(), help="its name")
    part.set_defaults(run=print_source)
    parts.add_parser("list", help="name the presets").set_defaults(run=names)
    parts.add_parser("schema", help="print the JSON Schema of policy files").set_defaults(
        run=schema
    )


def _add_explain(parts: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    part = parts.add_parser("explain", help="judge a text and say why it is decided so")
    part.add_argument("policy", metavar="FILE", help=POLICY)
    part.add_argument("text", metavar="TEXT")
    part.add_argument("--stage", choices=[stage.value for stage in Stage], default="input")
    part.add_argument("--json", action="store_true", help="print one JSON object")
    part.set_defaults(run=explain)


def check(options: argparse.Namespace) -> int:
    """Load and build; print revision, guards and resolved rules, then what lint says."""
    rails = rails_of(options.policy)
    if options.json:
        print(msgspec.json.encode(_summary(rails)).decode())
    else:
        _report(rails)
    return 0


def warn(options: argparse.Namespace) -> int:
    """Print what lint says."""
    warnings = lint(rails_of(options.policy))
    if options.json:
        print(msgspec.json.encode({"warnings": warnings}).decode())
    else:
        print("\n".join(warnings) or "nothing to say")
    return STOPPED if warnings else 0


def explain(options: argparse.Namespace) -> int:
    """Judge a text by a policy and print the reasons; exit 0 whatever is decided."""
    stage = Stage(options.stage)
    rail = rails_of(options.policy).at(stage)
    content = content_of(options.text, stage)
    show(explained(Judge(rail), content), as_json=options.json)
    return 0


def test(options: argparse.Namespace) -> int:
    """Judge each case the policy holds, and compare."""
    rails = rails_of(options.policy)
    cases = rails.document.tests
    if not cases:
        raise PolicyError(f"{options.policy}: holds no [[tests]]")
    found = [_action(rails, case) for case in cases]
    failed = [number for number, case in enumerate(cases) if found[number] != case.expect]
    if options.json:
        failures = [_failure(number, cases[number], found[number]) for number in failed]
        form = {"cases": len(cases), "failed": failures, "policy": rails.revision}
        print(msgspec.json.encode(form).decode())
    else:
        for number in failed:
            print(_sentence(number, cases[number], found[number]))
        print(f"{len(cases) - len(failed)} of {len(cases)} cases pass")
    return STOPPED if failed else 0


def print_source(options: argparse.Namespace) -> int:
    """Print a preset as it is written."""
    print(read(options.policy).text, end="")
    return 0


def names(_options: argparse.Namespace) -> int:
    """Print each preset with its description."""
    documents = [load(name) for name in presets()]
    Screen().table(("preset", "what it is for"), [(d.name, d.description) for d in documents])
    return 0


def schema(_options: argparse.Namespace) -> int:
    """Print the JSON Schema, for editors that check while one writes."""
    data = msgspec.json.encode(msgspec.json.schema(Document))
    print(msgspec.json.format(data, indent=2).decode())
    return 0


def _action(rails: Rails, case: Case) -> str:
    stage = Stage(case.stage)
    [decision] = Judge(rails.at(stage))([content_of(case.text, stage)])
    return decision.action.word


def _failure(number: int, case: Case, found: str) -> dict[str, Any]:
    return {"case": number, "stage": case.stage, "expected": case.expect, "found": found}


def _sentence(number: int, case: Case, found: str) -> str:
    return f"tests[{number}] ({case.stage}): expected {case.expect}, found {found}: {case.text!r}"


def _summary(rails: Rails) -> dict[str, Any]:
    return {
        "name": rails.document.name,
        "policy": rails.revision,
        "latency": rails.latency.name.lower(),
        "stages": stages(rails),
        "route": rails.document.stage.route,
        "warnings": lint(rails),
    }


def _report(rails: Rails) -> None:
    screen = Screen()
    summary = _summary(rails)
    screen.line(screen.paint(f"{summary['name']}  {summary['policy']}", "bold"))
    for name, stage in summary["stages"].items():
        guards = ", ".join(f"{each['name']} ({each['latency']})" for each in stage["guards"])
        screen.line()
        screen.line(screen.paint(name, "bold") + f"  {guards or 'no guards'}")
        if stage["rules"]:
            screen.table(("rule", "category", "from", "action"), map(_rule, stage["rules"]))
    route = summary["route"]
    if route is not None:
        screen.line()
        guard = route.guard or "the model that is asked"
        counts = f"{len(route.restrictive)} restrictive, {len(route.directive)} directive"
        screen.line(screen.paint("route", "bold") + f"  {guard}; guidelines: {counts}")
    screen.line()
    for warning in summary["warnings"]:
        screen.line(f"warning: {warning}")
    slowest = "slowest stage" if route is None else "the route"
    screen.line(f"{slowest} takes {summary['latency']}")


def _rule(rule: dict[str, Any]) -> tuple[str, ...]:
    return rule["name"], rule["category"], f"{rule['threshold']:.3f}", rule["action"]

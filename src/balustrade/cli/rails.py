"""The rails that commands judge with: a policy file or preset, loaded, built, with its backends."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from balustrade.cli.backends import require_models, route
from balustrade.core.content import Content, Role, Stage, Text, ToolCall
from balustrade.core.decision import Decision
from balustrade.flow.run import run
from balustrade.policy.load import loads, read
from balustrade.rails.build import Rails, build
from balustrade.rails.rail import Rail

if TYPE_CHECKING:
    from balustrade.guards.neighbours import Known
    from balustrade.rails.explanation import Explanation

DEFAULT = "chat"
ROLES = {Stage.INPUT: Role.USER, Stage.OUTPUT: Role.ASSISTANT, Stage.RETRIEVAL: Role.DOCUMENT}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says by which policy and at which stage is judged."""
    parser.add_argument(
        "--policy",
        metavar="FILE|PRESET",
        default=DEFAULT,
        help="a policy file, or a preset by name (default: %(default)s)",
    )
    parser.add_argument(
        "--stage",
        choices=[stage.value for stage in Stage],
        default=Stage.INPUT.value,
        help="where the text stands: what a person asks, what was retrieved, the arguments of a "
        "tool call, what a model answers (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME=URL",
        action="append",
        default=[],
        help="an OpenAI-compatible server that answers for a model a guard names; may be repeated",
    )


def rails_of(policy: str) -> Rails:
    """Load and build a policy; errors name file and line."""
    source = read(policy)
    rails = build(loads(source.text, source.name), source.text, source.name)
    require_models(guard for stage in Stage for guard in rails.at(stage).guards)
    return rails


def content_of(text: str, stage: Stage, request: str = "", tool: str = "") -> Content:
    """Return a text as a rail of the stage would meet it.

    Args:
        text: What is judged; at the tool stage, the call's arguments.
        stage: Where it stands.
        request: What the user asked before; empty if nothing.
        tool: The tool's name.
    """
    history = (Content.of(request),) if request else ()
    if stage is Stage.TOOL:
        return Content((ToolCall(tool, text),), Role.ASSISTANT, history)
    return Content((Text(text),), ROLES[stage], history)


class Judge:
    """A rail and what answers its calls; decides on contents, a batch at a time."""

    def __init__(self, rail: Rail, models: Sequence[str] = ()) -> None:
        self.rail = rail
        self._route = route(models)

    def __call__(self, batch: Sequence[Content]) -> list[Decision]:
        """Decide on each, in order."""
        return run(self.rail.check(batch), self._route.send)

    def explain(self, content: Content, decision: Decision, known: Known) -> Explanation | None:
        """Return what stands behind a decision; None if no model's finding does."""
        from balustrade.rails.explanation import explanation

        return run(explanation(self.rail, content, decision, known), self._route.send)

"""R18: what is legal in a policy but seems not to be meant is said."""

from __future__ import annotations

import pytest

from balustrade.policy.load import loads
from balustrade.rails.build import build
from balustrade.rails.lint import lint

WORDS = """
[[stage.input.guards]]
use = "keywords"
words = ["x"]
category = "a"
"""
RULE = """
[[stage.input.rules]]
name = "one"
category = "a"
"""


CLASSIFIER = """
[[stage.output.guards]]
use = "classifier"
"""
MONITOR = """
[[stage.output.guards]]
use = "scm"
"""
HARMFUL = """
[[stage.output.rules]]
name = "harm"
category = "response-harm"
"""


def warnings(source: str) -> list[str]:
    return lint(build(loads(f'name = "p"\n{source}')))


def test_a_policy_in_which_every_rule_can_fire_leaves_nothing_to_say() -> None:
    assert warnings(WORDS + RULE) == []


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("", "no stage has guards, so everything is allowed"),
        (WORDS, "stage.input: has guards but no rules, so nothing follows from what they find"),
        (
            WORDS + RULE.replace('"a"', '"b"'),
            "stage.input: rule 'one' waits for 'b', which no guard reports here; they report: a",
        ),
        (
            WORDS + RULE + 'guard = "absent"\n',
            "stage.input: rule 'one' waits for guard 'absent', which the stage does not have",
        ),
        (
            WORDS + RULE + "threshold = 0\n",
            "stage.input: rule 'one' has threshold 0, so it fires on every finding",
        ),
        (
            WORDS + RULE + 'action = "allow"\n',
            "stage.input: rule 'one' allows, which changes nothing: the gravest action wins",
        ),
        (
            WORDS + RULE + 'action = "regenerate"\n',
            "stage.input: rule 'one' asks for another answer, of which there is none at this "
            "stage, so it stops like block",
        ),
        (
            WORDS + WORDS + 'name = "again"\n' + RULE,
            "stage.input: guards 'keywords' and 'again' are the same but for the name",
        ),
        (
            'demands = ["image"]\n' + WORDS + RULE,
            "stage.input: demands that every image is judged, but no guard judges one, "
            "so each leads to block",
        ),
        (
            '[[stage.output.guards]]\nuse = "classifier"\n' + RULE.replace("input", "output"),
            "stage.output: rule 'one' waits for 'a', which no guard reports here; "
            "they report: response-harm",
        ),
        (
            CLASSIFIER + "streamed = false\n" + HARMFUL,
            "stage.output: rule 'harm' stops no streamed answer: only guards with streamed = false "
            "report 'response-harm'",
        ),
        (
            CLASSIFIER + MONITOR + HARMFUL,
            "stage.output: rule 'harm' has one threshold for 'scm' and for guards that judge whole "
            "answers, whose scores differ; give each a rule with its 'guard'",
        ),
    ],
)
def test_what_seems_not_to_be_meant_is_said(source: str, warning: str) -> None:
    assert warnings(source) == [warning]


def test_rules_without_guards_cannot_fire() -> None:
    assert "stage.input: has rules but no guards, so none can fire" in warnings(RULE)


def test_a_guard_that_does_not_say_what_it_reports_is_trusted() -> None:
    served = '[[stage.input.guards]]\nuse = "classifier"\nmodel = "served"\n'
    assert warnings(served + RULE) == []


def test_a_policy_that_only_routes_does_something() -> None:
    assert warnings('[stage.route]\nrestrictive = ["No."]\n') == []


def test_a_monitor_speaks_for_a_classifier_that_leaves_streams_to_it() -> None:
    early = HARMFUL.replace('"harm"', '"early"') + 'guard = "scm"\n'
    late = HARMFUL + 'guard = "classifier"\n'
    assert warnings(CLASSIFIER + "streamed = false\n" + MONITOR + early + late) == []


def test_a_rule_of_what_the_monitor_does_not_report_is_no_matter_of_its_threshold() -> None:
    words = WORDS.replace("input", "output")
    more = words.replace('["x"]', '["y"]') + 'name = "more"\n'
    found = warnings(MONITOR + HARMFUL + words + more + RULE.replace("input", "output"))
    assert found == []

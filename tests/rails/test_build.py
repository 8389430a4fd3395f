from __future__ import annotations

import pytest

from balustrade.backends import local
from balustrade.core.content import Content
from balustrade.core.decision import Action
from balustrade.core.errors import PolicyError, UnknownNameError
from balustrade.flow.run import run
from balustrade.policy.load import loads
from balustrade.rails.build import Rails, build

POLICY = """
name = "p"

[[stage.input.guards]]
use = "keywords"
words = ["password"]
category = "secret"

[[stage.input.rules]]
name = "no-secrets"
category = "secret"
"""


def made(source: str) -> Rails:
    return build(loads(source, "p.toml"), source, "p.toml")


def test_a_policy_file_becomes_rails_that_judge() -> None:
    [decision] = run(made(POLICY).input.check([Content.of("the password")]), local.send)
    assert (decision.action, decision.rule) == (Action.BLOCK, "no-secrets")
    assert decision.revision == loads(POLICY).revision


def test_a_stage_left_out_has_no_guards() -> None:
    assert made(POLICY).output.guards == ()


def test_r18_an_unknown_field_of_a_guard_is_named_with_its_line() -> None:
    with pytest.raises(PolicyError) as caught:
        made(POLICY.replace("words =", "wrods ="))
    assert str(caught.value) == "p.toml:6: unknown key 'wrods', at stage.input.guards[0].wrods"


def test_r18_a_field_of_the_wrong_type_is_named_with_its_line() -> None:
    with pytest.raises(PolicyError) as caught:
        made(POLICY.replace('["password"]', '"password"'))
    assert str(caught.value) == (
        "p.toml:6: expected `array`, got `str`, at stage.input.guards[0].words"
    )


def test_a_guard_that_does_not_exist_is_answered_with_a_near_name() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'keywords'.*stage.input.guards"):
        made(POLICY.replace('use = "keywords"', 'use = "keyword"'))


def test_a_rate_of_false_alarms_needs_a_calibrated_guard() -> None:
    with pytest.raises(PolicyError, match="no guard of its stage is calibrated for 'secret'"):
        made(POLICY + "false_alarms = 0.01\n")


def test_an_object_that_is_no_guard_is_refused() -> None:
    with pytest.raises(PolicyError, match="is no guard"):
        made(POLICY.replace('use = "keywords"', 'use = "collections:Counter"'))

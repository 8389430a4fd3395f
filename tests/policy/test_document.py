"""What a policy file may hold, and what each stage is given of it."""

from __future__ import annotations

import msgspec
import pytest

from balustrade.core.content import Stage
from balustrade.core.errors import PolicyError
from balustrade.policy.document import Document
from balustrade.policy.load import loads
from balustrade.policy.model import OnError

POLICY = """
name = "p"
on_error = "degrade"
timeout = 2.0
demands = ["text"]
redaction = "drop"

[stage.output]
on_error = "allow"
timeout = 1
demands = []
redaction = "mask"
on_unjudged = "flag"
"""


def test_r16_a_stage_takes_from_the_document_what_it_leaves_open() -> None:
    policy = loads(POLICY).policy(Stage.INPUT)
    assert (policy.on_error, policy.timeout, policy.redaction) == (OnError.DEGRADE, 2.0, "drop")
    assert (policy.demands, policy.on_unjudged) == (frozenset({"text"}), "block")


def test_r16_a_stage_may_say_otherwise_even_that_it_demands_nothing() -> None:
    policy = loads(POLICY).policy(Stage.OUTPUT)
    assert (policy.on_error, policy.timeout, policy.redaction) == (OnError.ALLOW, 1.0, "mask")
    assert (policy.demands, policy.on_unjudged) == (frozenset(), "flag")


def test_r16_a_policy_that_says_nothing_fails_closed_and_durably() -> None:
    document = loads('name = "p"')
    assert (document.on_error, document.on_unjudged) == (OnError.BLOCK, "block")
    assert (document.audit.durable, document.audit.keep) == (True, "masked")


def test_r24_every_stage_names_the_revision_of_the_whole_document() -> None:
    document = loads(POLICY)
    assert {document.policy(stage).revision for stage in Stage} == {document.revision}


@pytest.mark.parametrize(
    "line",
    [
        "timeout = 0",
        "timeout = -1",
        'demands = ["smell"]',
        'redaction = "blur"',
        'image_hosts = "example.org"',
        "audit = { durable = 1 }",
        "stream = { window = 1 }",
        'tests = [{ text = "x", expect = "maybe" }]',
        "[stage.input]\nrules = 3",
        "stage = 3",
        "[stage]\ninput = 3",
    ],
)
def test_r18_a_value_out_of_range_is_refused_on_its_line(line: str) -> None:
    with pytest.raises(PolicyError, match=r"^policy:(2|3): "):
        loads(f'name = "p"\n{line}\n')


def test_r18_the_schema_describes_every_key_and_forbids_others() -> None:
    schema = msgspec.json.schema(Document)
    document = schema["$defs"]["Document"]
    assert set(document["properties"]) == set(Document.__struct_encode_fields__)
    assert document["required"] == ["name"]
    assert document["additionalProperties"] is False
    assert schema["$defs"]["Rule"]["additionalProperties"] is False

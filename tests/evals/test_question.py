"""What each kind of row asks, and as what content it is judged."""

from __future__ import annotations

from typing import Any

import pytest

from balustrade.core.content import Content, Role
from balustrade.data.example import Example, Kind
from balustrade.evals.question import (
    Question,
    asked,
    content_of,
    is_withheld,
    questions_of,
)


def row(kind: Kind, label: Any = "unsafe", **fields: Any) -> Example:
    return Example(id="1", text="a text", label=label, kind=kind, **fields)


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        (Kind.PROMPT, Question.REQUEST),
        (Kind.TOXICITY, Question.POST),
        (Kind.INJECTION, Question.INJECTION),
        (Kind.RESPONSE, Question.RESPONSE),
        (Kind.PII, Question.PERSONAL),
    ],
)
def test_the_kind_decides_what_is_asked(kind: Kind, question: Question) -> None:
    assert questions_of(row(kind), asked([row(kind)])) == (question,)


def test_a_harmless_row_asks_what_its_set_asks() -> None:
    harmless = row(Kind.BENIGN, "safe")
    among_injections = asked([harmless, row(Kind.INJECTION)])
    assert questions_of(harmless, among_injections) == (Question.INJECTION,)
    among_both = asked([row(Kind.INJECTION), harmless, row(Kind.PROMPT)])
    assert questions_of(harmless, among_both) == (Question.REQUEST, Question.INJECTION)
    alone = asked([harmless, row(Kind.HARD_BENIGN, "safe")])
    assert questions_of(harmless, alone) == (Question.REQUEST,)


def test_actions_on_pages_and_stereotypes_ask_nothing_a_guard_for_text_answers() -> None:
    action = row(Kind.WEB_ACTION)
    assert questions_of(action, asked([action])) == ()
    assert asked([action, row(Kind.BENIGN, "safe")]) == ()
    stereotype = row(Kind.BIAS)
    plain = row(Kind.BIAS, "safe")
    assert questions_of(stereotype, asked([stereotype, plain])) == ()
    assert questions_of(plain, asked([stereotype, plain])) == (Question.POST,)


def test_a_prompt_whose_answer_was_withheld_is_left_out_of_a_set_of_answers() -> None:
    withheld = row(Kind.PROMPT, categories=("response-withheld",))
    answers = asked([withheld, row(Kind.RESPONSE, response="an answer")])
    assert is_withheld(withheld, answers)
    assert questions_of(withheld, answers) == ()
    prompts = asked([withheld])
    assert questions_of(withheld, prompts) == (Question.REQUEST,)


def test_an_answer_is_judged_after_its_request() -> None:
    assert content_of(row(Kind.RESPONSE, response="an answer")) == Content.of(
        "an answer", Role.ASSISTANT, (Content.of("a text"),)
    )


def test_a_tool_s_output_is_judged_as_one_after_the_task() -> None:
    output = row(Kind.INJECTION, categories=("tool-output",), context="sum it up")
    assert content_of(output) == Content.of("a text", Role.TOOL, (Content.of("sum it up"),))
    attack = row(Kind.INJECTION, context="be brief")
    before = (Content.of("be brief", Role.SYSTEM),)
    assert content_of(attack) == Content.of("a text", Role.USER, before)

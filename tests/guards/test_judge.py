from __future__ import annotations

from math import isclose, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.call import Generate, Texts
from balustrade.core.content import Content, Image, Role
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.judge import Criterion, Example, Judge

RUDE = Criterion("rude", "The message insults someone.")
LEGAL = Criterion("legal-advice", "The message gives advice on a law suit.")
JUDGE = Judge("m", (RUDE, LEGAL))


def answered(judge: Judge, reply: Texts, *texts: str) -> list[Verdict]:
    return run(judge.check([Content.of(text) for text in texts]), lambda _calls: [reply])


def asked(judge: Judge, *contents: Content) -> Generate:
    [call] = next(judge.check(contents))
    assert isinstance(call, Generate)
    return call


def test_all_contents_of_a_batch_are_asked_in_one_call() -> None:
    call = asked(JUDGE, Content.of("You fool"), Content.of("Sue them"))
    assert call.choices == ("A", "B", "C")
    assert (call.model, call.max_tokens, len(call.prompts)) == ("m", 1, 2)
    assert "B: The message insults someone." in call.system


def test_the_letter_named_is_the_rule_that_is_broken() -> None:
    verdicts = answered(JUDGE, Texts(("A", "C")), "hi", "Sue them")
    assert verdicts == [Verdict("judge"), Verdict("judge", (Finding("legal-advice", 1.0),))]


def test_log_probabilities_become_scores_that_sum_to_one() -> None:
    odds = {"A": log(0.3), " B": log(0.1), "B": log(0.1), "The": log(0.5)}
    [verdict] = answered(JUDGE, Texts(("A",), (odds,)), "hm")
    [finding] = verdict.findings
    assert finding.category == "rude"
    assert isclose(finding.score, 0.2 / 0.5)


@pytest.mark.parametrize("text", ["", "yes", "B: rude", "AB", "Bad", "b", "D", "I would say B"])
def test_r8_an_answer_that_is_no_letter_is_a_failure_not_a_verdict(text: str) -> None:
    good, bad = answered(JUDGE, Texts(("B", text)), "You fool", "hi")
    assert good == Verdict("judge", (Finding("rude", 1.0),))
    assert bad == Verdict("judge", error="the model's answer is none of its choices")


@given(st.text(max_size=200))
def test_no_text_can_close_its_quotation(text: str) -> None:
    prompts = asked(JUDGE, Content.of("x" + text)).prompts
    first, rest = prompts[0].split("\n", 1)
    mark = first.split()[-1].removesuffix(">>")
    assert mark not in text
    assert rest.startswith(f"x{text}\n<<end {mark}>>")


def test_text_that_quotes_another_texts_marks_changes_nothing() -> None:
    known = asked(JUDGE, Content.of("hi")).prompts[0]
    prompt = asked(JUDGE, Content.of(f"{known}\nB")).prompts[0]
    mark = prompt.split("\n", 1)[0].split()[-1].removesuffix(">>")
    assert prompt.count(mark) == 2


def test_an_answer_is_judged_together_with_the_request() -> None:
    answer = Content.of("Yes.", Role.ASSISTANT, (Content.of("Is he a fool?"),))
    prompt = asked(JUDGE, answer).prompts[0]
    assert prompt.index("Is he a fool?") < prompt.index("Yes.")
    assert "message from assistant" in prompt


def test_the_same_content_is_asked_alike_so_that_it_can_be_replayed() -> None:
    assert asked(JUDGE, Content.of("hi")) == asked(JUDGE, Content.of("hi"))


def test_examples_are_shown_with_their_letters() -> None:
    judge = Judge("m", (RUDE,), (Example("You fool", "rude"), Example("Good day")))
    assert asked(judge, Content.of("hi")).system.endswith(
        'For example:\n"You fool" is B\n"Good day" is A'
    )


def test_of_a_long_text_the_worst_window_counts_and_is_named() -> None:
    judge = Judge("m", (RUDE,), window=500)
    text = "word " * 200
    prompts = asked(judge, Content.of(text)).prompts
    assert len(prompts) > 2
    odds = [{"A": log(0.9), "B": log(0.1)}] * len(prompts)
    odds[1] = {"A": log(0.2), "B": log(0.8)}
    [verdict] = answered(judge, Texts(("A",) * len(prompts), tuple(odds)), text)
    [finding] = verdict.findings
    assert isclose(finding.score, 0.8)
    assert finding.span is not None
    assert 0 < finding.span.start < finding.span.end < len(text)


def test_content_without_words_is_not_asked() -> None:
    batch = [Content((Image(data=b"x"),)), Content.of("  ")]
    assert run(JUDGE.check(batch), lambda _calls: pytest.fail("asked")) == [Verdict("judge")] * 2


def test_a_whole_short_text_needs_no_place() -> None:
    [verdict] = answered(JUDGE, Texts(("B",)), "You fool")
    assert verdict.findings[0].span is None
    assert Span(0, 0, 8) not in [finding.span for finding in verdict.findings]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": []}, "length >= 1"),
        ({"rules": [{"category": "a", "description": "b"}] * 2}, "one rule for each category"),
        ({"examples": [{"text": "x", "category": "y"}]}, "breaks 'y', which no rule names"),
        ({"window": 400}, "expected window > 400"),
    ],
)
def test_r18_what_cannot_be_asked_is_refused(fields: dict[str, object], message: str) -> None:
    options = {"use": "judge", "model": "m", "rules": [{"category": "a", "description": "b"}]}
    with pytest.raises(msgspec.ValidationError, match=message):
        build(options | fields)

"""What other models' labels are taken to mean."""

from __future__ import annotations

import pytest

from balustrade.core.labels import meanings
from balustrade.core.taxonomy import HARM, HAZARDS, INJECTION, OPENAI_CATEGORIES, TOXICITY
from balustrade.evals.question import Question
from balustrade.evals.subject import Head, heads_of_others, heads_of_ours


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("BENIGN", "INJECTION", "JAILBREAK"), ("", INJECTION, INJECTION)),
        (("LABEL_0", "LABEL_1"), ("", HARM)),
        (("SAFE", "UNSAFE"), ("", HARM)),
        (("toxic", "severe_toxic", "identity_hate"), (TOXICITY, TOXICITY, TOXICITY)),
        (("S1", "S10: Hate", "s11"), ("violent-crimes", "hate", "self-harm")),
        (("Suicide and self-harm", "Weapons of some kind"), ("self-harm", HARM)),
        (("non-toxic", "Not Harmful"), ("", "")),
    ],
)
def test_labels_are_read_by_the_documented_rule(
    labels: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert meanings(labels) == expected


def test_every_title_and_name_and_code_of_a_hazard_is_that_hazard() -> None:
    for hazard in HAZARDS:
        assert meanings((hazard.name, hazard.code)) == (hazard.name, hazard.name)
        if hazard.name != INJECTION:
            assert meanings((hazard.title,)) == (hazard.name,)


def test_every_category_of_openai_s_form_has_a_meaning_of_its_own() -> None:
    assert HARM not in meanings(OPENAI_CATEGORIES)
    assert "" not in meanings(OPENAI_CATEGORIES)


def test_our_heads_answer_at_their_own_threshold() -> None:
    heads = heads_of_ours({"harm": 0.3, "toxicity": 0.4, "hate": 0.9, "response-harm": 0.2})
    assert heads == {
        Question.REQUEST: Head(frozenset({"harm"}), 0.3),
        Question.POST: Head(frozenset({"toxicity"}), 0.4),
        Question.RESPONSE: Head(frozenset({"response-harm"}), 0.2),
    }


def test_a_model_of_injections_answers_nothing_else() -> None:
    assert list(heads_of_others({INJECTION})) == [Question.INJECTION]


def test_a_model_of_hazards_judges_requests_by_the_highest() -> None:
    heads = heads_of_others({"weapons", "hate", INJECTION})
    assert heads[Question.REQUEST].score({"weapons": 0.2, "hate": 0.7, INJECTION: 1.0}) == 0.7
    assert heads[Question.RESPONSE] == heads[Question.REQUEST]
    assert heads[Question.POST] == Head(frozenset({"hate"}))


def test_a_guard_may_say_yes_by_itself() -> None:
    head = Head(frozenset({"hate"}), says="flagged")
    assert head.limit is None
    assert head.is_yes({"hate": 0.1, "flagged": 1.0})
    assert not head.is_yes({"hate": 0.9, "flagged": 0.0})
    assert head.score({"hate": 0.1, "flagged": 1.0}) == 0.1

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.call import Flow, Spoken, converse
from balustrade.core.content import Content, Role, Stage
from balustrade.core.decision import Action, Decision
from balustrade.core.verdict import Finding, Severity, Verdict
from balustrade.flow.run import run
from balustrade.policy.model import Policy, Rule
from balustrade.rails.pipeline import Outcome
from balustrade.rails.regenerate import (
    Complaint,
    Regenerated,
    complaints,
    feedback,
    regenerate,
    wants_another,
)
from balustrade.rails.turns import Judged, Turn

POLICY = Policy(
    "p",
    (
        Rule("again", "harm", action="regenerate"),
        Rule("rude", "toxicity", action="regenerate", severity="moderate"),
        Rule("never", "weapons", action="block"),
        Rule("mark", "spam", action="flag"),
    ),
)


def verdict(*findings: Finding) -> Verdict:
    return Verdict("g", findings)


def outcome(*findings: Finding) -> Outcome:
    content = Content.of("a draft", Role.ASSISTANT)
    decision = POLICY.decide(content, [verdict(*findings)])
    return Outcome((Judged(Turn(0, 0, Stage.OUTPUT, content), decision),))


HARM = Finding("harm", 0.9, severity=Severity.MODERATE)
BLOCKED = Finding("weapons", 0.9)


def play(drafts: list[Outcome], rounds: int) -> tuple[str | None, Regenerated, list[str]]:
    """Run the loop over drafts of known outcomes; return what it was told each time, too."""
    told: list[str] = []

    def draft(note: str) -> Flow[str]:
        told.append(note)
        reply = yield from converse("m", (("user", note),))
        return reply.text

    def judge(text: str) -> Flow[tuple[Outcome, tuple[Complaint, ...]]]:
        found = drafts[int(text)]
        decisions = [(POLICY, judged.decision) for judged in found.judged]
        return found, complaints(decisions)
        yield ()

    numbers = iter(range(len(drafts)))
    loop = regenerate(draft, judge, rounds)
    written, end = run(loop, lambda calls: [Spoken(str(next(numbers))) for _ in calls])
    return written, end, told


@pytest.mark.parametrize("good", [1, 2, 3, 4, 5])
def test_it_ends_with_the_first_draft_that_passes(good: int) -> None:
    written, end, told = play([outcome(HARM)] * (good - 1) + [outcome()] * 9, 5)
    assert written == str(good - 1)
    assert (end.rounds, end.passed) == (good, True)
    assert told[0] == ""
    assert all("harm (moderate)" in note for note in told[1:])


def test_it_gives_up_after_the_last_round() -> None:
    written, end, told = play([outcome(HARM)] * 9, 5)
    assert written is None
    assert (end.rounds, end.passed, len(told)) == (5, False, 5)


def test_what_is_blocked_is_not_asked_for_again() -> None:
    written, end, _ = play([outcome(HARM, BLOCKED), outcome()], 5)
    assert written is None
    assert end.rounds == 1
    assert not wants_another(outcome(HARM, BLOCKED))
    assert wants_another(outcome(HARM))
    assert not wants_another(outcome())


def test_the_note_names_what_was_wrong_and_nothing_else() -> None:
    decision = POLICY.decide(
        Content.of("SECRET WORDS", Role.ASSISTANT),
        [
            verdict(
                Finding("toxicity", 0.9, severity=Severity.MINOR),
                Finding("harm", 0.8, severity=Severity.MODERATE, note="SECRET WORDS"),
                Finding("harm", 0.9, severity=Severity.SEVERE),
                Finding("spam", 0.9),
            )
        ],
    )
    found = complaints([(POLICY, decision)])
    assert found == (Complaint("harm", Severity.SEVERE),)
    note = feedback(found)
    assert "harm (severe)" in note
    assert "SECRET" not in note
    assert "toxicity" not in note
    assert decision.action is Action.REGENERATE


@given(st.lists(st.sampled_from([outcome(), outcome(HARM), outcome(BLOCKED)]), min_size=5))
def test_no_draft_that_stops_is_ever_returned(drafts: list[Outcome]) -> None:
    written, end, _ = play(drafts, 5)
    assert (written is None) == (not end.passed)
    if written is not None:
        assert not drafts[int(written)].stops
        assert all(wants_another(each) for each in drafts[: int(written)])


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.8])
def test_the_share_that_passes_by_each_round_is_the_closed_form(chance: float) -> None:
    rng, count = Random(3), 4_000
    ends = [
        play([outcome() if rng.random() < chance else outcome(HARM) for _ in range(5)], 5)[1]
        for _ in range(count)
    ]
    for rounds in range(1, 6):
        passed = sum(end.passed and end.rounds <= rounds for end in ends) / count
        assert passed == pytest.approx(1 - (1 - chance) ** rounds, abs=4 * 0.5 / count**0.5)


def test_fewer_than_one_round_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds >= 1"):
        play([], 0)


def test_a_decision_without_findings_names_nothing() -> None:
    assert complaints([(POLICY, Decision(Action.REGENERATE, Content.of("x"), ()))]) == ()
    assert "unsafe" in feedback(())

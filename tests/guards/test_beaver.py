"""The graded guard over scripted scores: a test plays the model's part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import Classify, Failed, Vectors
from balustrade.core.content import Content, Role
from balustrade.core.decision import Action
from balustrade.core.errors import BackendError, GuardError
from balustrade.core.guard import Latency
from balustrade.core.verdict import Severity, Verdict
from balustrade.flow.run import run
from balustrade.guards.beaver import Beaver, cumulative
from balustrade.guards.build import build
from balustrade.guards.classifier import Classifier
from balustrade.policy.model import Policy, Rule
from balustrade.rails.rail import Rail

MINOR, MODERATE, SEVERE = Severity
LABELS = ("harm", "injection", "response-harm", "severity-moderate", "severity-severe")
ENCODER = Classifier(model="encoder")
chances = st.floats(0, 1, width=32)


def judged(guard: Beaver, content: Content, *rows: list[float]) -> Verdict:
    flow = guard.check([content])
    [call] = next(flow)
    assert isinstance(call, Classify)
    assert len(call.texts) == len(rows)
    with pytest.raises(StopIteration) as stop:
        flow.send([Vectors.of(rows, LABELS)])
    [verdict] = stop.value.value
    assert isinstance(verdict, Verdict)
    return verdict


def scores(verdict: Verdict) -> dict[tuple[str, Severity | None], object]:
    return {(f.category, f.severity): pytest.approx(f.score, abs=1e-6) for f in verdict.findings}


def test_each_severity_is_reported_with_the_probability_of_it_or_more() -> None:
    verdict = judged(Beaver(ENCODER), Content.of("hi"), [0.8, 0.3, 0.0, 0.5, 0.25])
    assert scores(verdict) == {
        ("harm", MINOR): 0.8,
        ("harm", MODERATE): 0.4,
        ("harm", SEVERE): 0.2,
        ("injection", None): 0.3,
    }
    assert verdict.guard == "beaver"


def test_an_answer_is_graded_too() -> None:
    content = Content.of("Because.", Role.ASSISTANT, (Content.of("Why?"),))
    verdict = judged(Beaver(ENCODER), content, [0.9, 0.9, 0.5, 1.0, 0.5])
    assert scores(verdict) == {
        ("response-harm", MINOR): 0.5,
        ("response-harm", MODERATE): 0.5,
        ("response-harm", SEVERE): 0.25,
    }


def test_a_severe_window_does_not_hide_behind_a_milder_one_that_is_more_certain() -> None:
    text = "a calm beginning and an evil end"
    rows = [[0.9, 0.0, 0.0, 0.1, 0.0], [0.8, 0.0, 0.0, 1.0, 1.0]]
    reader = Classifier(model="encoder", window=20, overlap=0)
    verdict = judged(Beaver(reader), Content.of(text), *rows)
    found = {f.severity: f for f in verdict.findings}
    assert found[MINOR].score == pytest.approx(0.9)
    assert found[SEVERE].score == pytest.approx(0.8)
    first, last = found[MINOR].span, found[SEVERE].span
    assert first is not None
    assert last is not None
    assert first.end <= last.start
    flow = reader.check([Content.of(text)])
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send([Vectors.of(rows, LABELS)])
    assert [f.severity for f in stop.value.value[0].findings] == [MINOR]


@settings(deadline=None)
@given(chances, chances, chances)
def test_no_severity_is_more_probable_than_a_milder_one(
    harm: float, moderate: float, severe: float
) -> None:
    grades = cumulative(moderate, severe)
    assert grades[MINOR] >= grades[MODERATE] >= grades[SEVERE]
    guard = Beaver(ENCODER, floor=0.0)
    verdict = judged(guard, Content.of("x"), [harm, 0.0, 0.0, moderate, severe])
    [found] = [f for f in verdict.findings if (f.category, f.severity) == ("harm", SEVERE)]
    assert found.score == pytest.approx(harm * severe, abs=1e-6)


@pytest.mark.parametrize(
    ("least", "expected"),
    [("minor", {MINOR, MODERATE, SEVERE}), ("moderate", {MODERATE, SEVERE}), ("severe", {SEVERE})],
)
def test_less_than_the_least_severity_is_not_reported(least: str, expected: set[Severity]) -> None:
    guard = build({"use": "beaver", "least": least})
    assert isinstance(guard, Beaver)
    verdict = judged(guard, Content.of("hi"), [0.9, 0.9, 0.0, 0.9, 0.9])
    assert {f.severity for f in verdict.findings if f.category == "harm"} == expected
    assert {f.severity for f in verdict.findings if f.category == "injection"} == {None}


def test_a_rule_of_a_severity_fires_by_the_probability_of_that_severity() -> None:
    rules = (
        Rule("severe", "harm", "block", 0.3, severity="severe"),
        Rule("moderate", "harm", "regenerate", 0.6, severity="moderate"),
        Rule("any", "harm", "flag", 0.5),
    )
    policy = Policy("p", rules)
    for row, action in (
        ([0.9, 0.0, 0.0, 0.9, 0.4], Action.BLOCK),
        ([0.9, 0.0, 0.0, 0.9, 0.3], Action.REGENERATE),
        ([0.9, 0.0, 0.0, 0.5, 0.3], Action.FLAG),
        ([0.4, 0.0, 0.0, 0.9, 0.3], Action.ALLOW),
    ):
        verdict = judged(Beaver(ENCODER), Content.of("x"), row)
        assert policy.decide(Content.of("x"), [verdict]).action is action


def test_a_model_that_does_not_answer_fails_the_guard() -> None:
    flow = Beaver().check([Content.of("hi")])
    next(flow)
    with pytest.raises(BackendError, match="gone"):
        flow.send([Failed("gone")])
    [decision] = run(Rail((Beaver(),), Policy("p")).check([Content.of("hi")]), local.send)
    assert (decision.action, decision.rule) == (Action.BLOCK, "on_error")


def test_a_model_that_does_not_grade_is_refused_or_fails() -> None:
    with pytest.raises(ValueError, match="'static' does not grade"):
        Beaver(Classifier())
    flow = Beaver(Classifier(model="theirs")).check([Content.of("hi")])
    next(flow)
    with pytest.raises(GuardError, match="no head 'severity-moderate'"):
        flow.send([Vectors.of([[0.9]], ("harm",))])


def test_nothing_to_read_has_no_findings() -> None:
    flow = Beaver().check([Content.of("")])
    with pytest.raises(StopIteration) as stop:
        next(flow)
    assert stop.value.value == [Verdict("beaver")]


def test_it_is_calibrated_and_as_fast_as_its_classifier() -> None:
    assert Beaver().threshold_for("harm", 0.01) == Beaver().classifier.threshold_for("harm", 0.01)
    assert Beaver().latency is Latency.MILLISECONDS
    assert Beaver().judges == Beaver().classifier.judges

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import Call, Flow, Generate, Reply, Texts, compute, generate
from balustrade.core.content import Content
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.guards.cascade import Cascade, Combine
from balustrade.guards.classifier import Classifier
from balustrade.guards.keywords import Keywords


class Fixed(Spec, frozen=True):
    """Give every content one score, or fail."""

    score: float
    name: str
    latency: Latency = Latency.MICROSECONDS

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        return compute(self._judge, batch)

    def _judge(self, batch: Sequence[Content]) -> list[Verdict]:
        if self.score < 0:
            raise RuntimeError("out of order")
        findings = (Finding(self.name, self.score),) if self.score else ()
        return [Verdict(self.name, findings) for _ in batch]


class Reader(Spec, frozen=True):
    """Have a model read the score off the text."""

    name: str
    latency: Latency = Latency.MICROSECONDS

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        answer = yield from generate(self.name, [content.text for content in batch])
        return [Verdict(self.name, (Finding("read", float(text)),)) for text in answer.texts]


ONE = Content.of("hello")
SLOW = Latency.MODEL
scores = st.sampled_from([-1.0, 0.0, 0.1, 0.4, 0.5, 0.9])
latencies = st.sampled_from([Latency.MICROSECONDS, Latency.MODEL])


@st.composite
def members(draw: st.DrawFn) -> tuple[Fixed, ...]:
    count = draw(st.integers(1, 4))
    return tuple(Fixed(draw(scores), f"g{n}", draw(latencies)) for n in range(count))


def verdict(cascade: Cascade) -> Verdict:
    [answer] = run(cascade.check([ONE]), local.send)
    return answer


def asked(cascade: Cascade, *texts: str) -> list[tuple[str, ...]]:
    """What the models of the cascade's members were asked, in order."""
    prompts: list[tuple[str, ...]] = []

    def answer(call: Call) -> Reply:
        if isinstance(call, Generate):
            prompts.append(call.prompts)
            return Texts(call.prompts)
        return local.send((call,))[0]

    run(cascade.check([Content.of(text) for text in texts]), lambda calls: list(map(answer, calls)))
    return prompts


def object_to(guards: Sequence[Fixed]) -> int:
    return sum(guard.score >= 0.5 for guard in guards)


@given(members())
def test_any_of_is_the_union_of_members_where_none_is_skipped(
    guards: tuple[Fixed, ...],
) -> None:
    same = tuple(msgspec.structs.replace(g, latency=Latency.MICROSECONDS) for g in guards)
    findings = {f for f in verdict(Cascade(same)).findings}
    assert findings == {Finding(g.name, g.score) for g in guards if g.score > 0}


@given(members(), st.sampled_from(["any_of", "all_of", "vote"]))
def test_the_order_of_guards_of_one_class_makes_no_difference(
    guards: tuple[Fixed, ...], combine: Combine
) -> None:
    outcomes = {
        (frozenset(answer.findings), bool(answer.error))
        for order in permutations(guards)
        for answer in [verdict(Cascade(order, combine))]
    }
    assert len(outcomes) == 1


@given(members(), st.sampled_from(["any_of", "all_of", "vote"]))
def test_skipping_changes_no_objection(guards: tuple[Fixed, ...], combine: Combine) -> None:
    sound = tuple(g for g in guards if g.score >= 0) or (Fixed(0.1, "g"),)
    needed = {"any_of": 1, "all_of": len(sound), "vote": len(sound) // 2 + 1}[combine]
    answer = verdict(Cascade(sound, combine))
    objects = max((f.score for f in answer.findings), default=0.0) >= 0.5
    assert objects == (object_to(sound) >= needed)
    assert not answer.error


@given(members(), st.sampled_from(["any_of", "all_of", "vote"]), st.integers(0, 3))
def test_a_higher_score_never_lowers_the_outcome(
    guards: tuple[Fixed, ...], combine: Combine, which: int
) -> None:
    number = which % len(guards)
    raised = list(guards)
    raised[number] = msgspec.structs.replace(guards[number], score=0.9)

    def strength(answer: Verdict) -> tuple[bool, float]:
        return bool(answer.error), max((f.score for f in answer.findings), default=0.0)

    before, after = verdict(Cascade(guards, combine)), verdict(Cascade(tuple(raised), combine))
    assert strength(after)[1] >= min(strength(before)[1], 0.5) or after.error


@given(members(), st.sampled_from(["any_of", "all_of", "vote"]))
def test_a_failed_member_fails_the_cascade_unless_the_others_settle_it(
    guards: tuple[Fixed, ...], combine: Combine
) -> None:
    same = tuple(msgspec.structs.replace(g, latency=Latency.MICROSECONDS) for g in guards)
    needed = {"any_of": 1, "all_of": len(same), "vote": len(same) // 2 + 1}[combine]
    failed = sum(g.score < 0 for g in same)
    is_open = object_to(same) < needed <= object_to(same) + failed
    assert bool(verdict(Cascade(same, combine)).error) == is_open


def test_a_dear_guard_is_not_asked_once_a_cheap_one_objects() -> None:
    cascade = Cascade((Fixed(-1.0, "dear", SLOW), Fixed(0.9, "cheap")))
    assert verdict(cascade) == Verdict("cascade", (Finding("cheap", 0.9),))


def test_a_dear_guard_is_asked_only_where_the_cheap_one_is_unsure() -> None:
    cascade = Cascade((Reader("cheap"), Reader("dear", SLOW)), sure=0.8, clear=0.2)
    assert asked(cascade, "0.1", "0.9") == [("0.1", "0.9")]
    assert asked(cascade, "0.1", "0.5", "0.9") == [("0.1", "0.5", "0.9"), ("0.5",)]


def test_without_a_clear_limit_no_pass_settles_it() -> None:
    cascade = Cascade((Fixed(0.0, "cheap"), Fixed(0.9, "dear", SLOW)))
    assert [f.category for f in verdict(cascade).findings] == ["dear"]


def test_all_of_stops_at_the_first_that_does_not_object() -> None:
    cascade = Cascade((Fixed(0.1, "cheap"), Fixed(-1.0, "dear", SLOW)), "all_of")
    assert verdict(cascade) == Verdict("cascade")


def test_all_of_is_no_surer_than_its_least_sure_guard() -> None:
    cascade = Cascade((Fixed(0.9, "a"), Fixed(0.6, "b")), "all_of")
    assert {f.score for f in verdict(cascade).findings} == {0.6}


def test_a_vote_needs_its_quorum() -> None:
    guards = (Fixed(0.9, "a"), Fixed(0.1, "b"), Fixed(0.0, "c"))
    assert verdict(Cascade(guards, "vote")) == Verdict("cascade")
    assert verdict(Cascade(guards, "vote", quorum=1)).findings == (Finding("a", 0.9),)


def test_an_error_names_the_member_that_failed() -> None:
    answer = verdict(Cascade((Fixed(-1.0, "broken"), Fixed(0.1, "fine"))))
    assert answer.error.startswith("broken: ")
    assert answer.findings == (Finding("fine", 0.1),)


def test_a_policy_file_nests_guards() -> None:
    options = {
        "use": "cascade",
        "guards": [{"use": "keywords", "words": ["bomb"]}, {"use": "classifier"}],
    }
    made = build(options)
    assert isinstance(made, Cascade)
    assert [guard.name for guard in made.guards] == ["keywords", "classifier"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sure": 0.3, "clear": 0.4}, "expected clear <= sure"),
        ({"quorum": 3}, "a quorum of at most 1"),
        ({"guards": []}, "length >= 1"),
    ],
)
def test_r18_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    member = {"use": "keywords", "words": ["x"]}
    with pytest.raises(msgspec.ValidationError, match=message):
        build({"use": "cascade", "guards": [member], **options})


def test_calibrated_members_share_the_false_alarms_between_them() -> None:
    one, two = Classifier(name="one"), Classifier(name="two")
    alone = one.threshold_for("harm", 0.01)
    assert alone is not None
    assert Cascade(guards=(one, Keywords(words=("x",)))).threshold_for("harm", 0.01) == alone
    both = Cascade(guards=(one, two)).threshold_for("harm", 0.02)
    assert both == alone
    assert Cascade(guards=(one,)).threshold_for("no-such-category", 0.01) is None

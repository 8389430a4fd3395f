"""The stages around one model call, driven by hand."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.call import Flow
from balustrade.core.content import Content, Role, Text, ToolCall, words
from balustrade.core.decision import Action
from balustrade.core.guard import TEXT, Latency
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.run import run
from balustrade.policy.document import Document
from balustrade.policy.load import loads
from balustrade.policy.vault import Vault
from balustrade.rails.build import Rails, build
from balustrade.rails.pipeline import Outcome, Pipeline
from balustrade.rails.rail import Rail

POLICY = """
name = "p"
redaction = "reversible"

[[stage.input.rules]]
name = "bad"
category = "bad"

[[stage.input.rules]]
name = "private"
category = "private"
action = "redact"

[[stage.retrieval.rules]]
name = "bad-source"
category = "bad"

[[stage.tool.rules]]
name = "bad-call"
category = "bad"

[[stage.output.rules]]
name = "bad-answer"
category = "bad"

[[stage.output.rules]]
name = "private-answer"
category = "private"
action = "redact"
"""


class Counting(Spec, frozen=True):
    """Finds words by their first letter, and counts the texts that it judges."""

    seen: list[str]
    name: str = "counting"

    @property
    def judges(self) -> frozenset[str]:
        return TEXT

    @property
    def latency(self) -> Latency:
        return Latency.MICROSECONDS

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        self.seen.extend(content.text for content in batch)
        return [self._verdict(content) for content in batch]
        yield ()

    def _verdict(self, content: Content) -> Verdict:
        found = []
        for number, part in enumerate(content.parts):
            text = words(part)
            for category, mark in (("bad", "BAD"), ("private", "PRIVATE")):
                at = text.find(mark)
                if at >= 0:
                    found.append(Finding(category, 1.0, Span(number, at, at + len(mark))))
        if "BROKEN" in content.text:
            return Verdict(self.name, error="broken")
        return Verdict(self.name, tuple(found))


def pipeline(policy: str = POLICY) -> tuple[Pipeline, list[str]]:
    document: Document = loads(policy)
    seen: list[str] = []
    made = build(document)
    rails = {
        stage.stage.value: Rail((Counting(seen),), stage.policy, stage.stage)
        for stage in (made.input, made.retrieval, made.tool, made.output)
    }
    return Pipeline(Rails(document, document.revision, **rails)), seen


def ask(pipe: Pipeline, *messages: Content, vault: Vault | None = None) -> Outcome:
    return run(pipe.request(messages, Vault() if vault is None else vault), local.send)


def user(text: str) -> Content:
    return Content.of(text)


def model(text: str, *calls: ToolCall) -> Content:
    return Content(((Text(text),) if text else ()) + calls, Role.ASSISTANT)


def test_each_role_is_judged_by_its_rail() -> None:
    pipe, _ = pipeline()
    cases = {
        "bad": [user("BAD")],
        "bad-source": [user("a"), Content.of("BAD", Role.TOOL)],
        "bad-call": [user("a"), model("", ToolCall("f", '"BAD"')), Content.of("b", Role.TOOL)],
        "bad-answer": [user("a"), model("BAD"), user("b")],
    }
    for rule, messages in cases.items():
        decision = ask(pipe, *messages).gravest
        assert decision is not None
        assert (decision.action, decision.rule) == (Action.BLOCK, rule)


def test_system_messages_are_not_judged_but_may_be() -> None:
    trusting, seen = pipeline()
    ask(trusting, Content.of("BAD", Role.SYSTEM), user("a"))
    assert seen == ["a"]

    wary, _ = pipeline("trust_system = false\n" + POLICY)
    assert ask(wary, Content.of("BAD", Role.SYSTEM), user("a")).stops


def test_a_long_conversation_costs_what_a_short_one_costs() -> None:
    pipe, seen = pipeline()
    messages: list[Content] = []
    for turn in range(80):
        messages.append(user(f"question {turn}"))
        seen.clear()
        outcome = ask(pipe, *messages)
        assert len(outcome.judged) == 1
        assert len(seen) == 1
        answer = model(f"answer {turn}")
        [told] = run(pipe.answers(messages, [answer], Vault()), local.send)
        pipe.note(messages, answer, told)
        messages.append(answer)


def test_history_that_was_never_seen_is_judged_once() -> None:
    pipe, seen = pipeline()
    messages = [user("a"), model("b"), user("c")]

    ask(pipe, *messages)
    ask(pipe, *messages)

    assert sorted(seen) == ["a", "b", "c", "c"]


def test_an_answer_put_into_the_models_mouth_is_judged() -> None:
    pipe, _ = pipeline()

    assert ask(pipe, user("a"), model("BAD")).stops
    assert ask(pipe, user("a"), model("BAD"), user("c")).stops
    assert ask(pipe, user("a"), model("BAD"), user("c")).stops


def test_what_a_failing_guard_said_is_not_remembered() -> None:
    pipe, seen = pipeline()
    messages = [user("BROKEN"), model("b"), user("c")]

    assert ask(pipe, *messages).stops
    seen.clear()
    assert ask(pipe, *messages).stops
    assert "BROKEN" in seen


def test_remembered_messages_are_masked_again_for_each_request() -> None:
    pipe, seen = pipeline()
    messages = [user("PRIVATE a"), model("b"), user("c")]
    ask(pipe, *messages)
    seen.clear()
    vault = Vault()

    outcome = ask(pipe, *messages, vault=vault)

    assert seen == ["c"]
    [change] = outcome.changes
    assert words(change.part) == "[PRIVATE_1] a"
    assert vault.unmask(words(change.part)) == "PRIVATE a"
    assert [judged.turn.content.text for judged in outcome.judged] == ["c"]


def test_r6_two_requests_share_no_vault() -> None:
    pipe, _ = pipeline()
    first, second = Vault(), Vault()

    ask(pipe, user("PRIVATE"), vault=first)
    ask(pipe, user("nothing"), vault=second)

    assert (len(first), len(second)) == (1, 0)


def test_what_an_answer_reveals_is_not_taken_for_what_the_request_hid() -> None:
    pipe, _ = pipeline()
    vault = Vault()
    outcome = ask(pipe, user("my PRIVATE thing"), vault=vault)
    seen = [Content((outcome.changes[0].part,), Role.USER)]

    [told] = run(pipe.answers(seen, [model("another PRIVATE")], vault), local.send)

    text = words(told.changes[0].part)
    assert "PRIVATE" not in text.replace("[PRIVATE_", "")
    assert vault.unmask(text) == text


def test_alternatives_have_outcomes_of_their_own() -> None:
    pipe, _ = pipeline()
    answers = [model("a"), model("BAD"), model("c", ToolCall("f", '"BAD"')), model("")]

    outcomes = run(pipe.answers([user("q")], answers, Vault()), local.send)

    assert [outcome.stops for outcome in outcomes] == [False, True, True, False]
    assert [len(outcome.judged) for outcome in outcomes] == [1, 1, 2, 1]


@given(st.lists(st.sampled_from(["a", "BAD", "PRIVATE b", "c"]), min_size=1, max_size=6))
def test_what_is_remembered_changes_no_outcome(texts: list[str]) -> None:
    messages = [user(t) if n % 2 == 0 else model(t) for n, t in enumerate(texts)]
    used, _ = pipeline()
    for count in range(1, len(messages) + 1):
        ask(used, *messages[:count])

    fresh, _ = pipeline()
    known, unknown = ask(used, *messages), ask(fresh, *messages)

    assert known.stops == unknown.stops
    assert known.changes == unknown.changes

"""The laws every guard keeps. A new guard joins by one line in GUARDS_HELD_TO_THEM."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.backends.local import Local
from balustrade.backends.route import Route
from balustrade.backends.shipped import makers
from balustrade.core.call import Call, Failed, Generate, Reply, Texts
from balustrade.core.content import Content, Image, Role, Text, ToolCall, words
from balustrade.core.decision import Action
from balustrade.core.digest import digest
from balustrade.core.guard import Guard
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.merge import Merge
from balustrade.flow.replay import Round, recorded, replay
from balustrade.flow.run import arun, run
from balustrade.guards import GUARDS
from balustrade.guards.build import build
from balustrade.policy.model import Policy
from balustrade.rails.rail import Rail
from balustrade.shipped import HERE

RUDE = {"category": "rude", "description": "The message insults someone."}
KEYWORDS = {"use": "keywords", "words": ["bomb", "api key", "爆弾"]}
PATTERNS = {"use": "patterns"}
JUDGE = {"use": "judge", "model": "letters", "rules": [RUDE], "window": 500}
MODEL = {"use": "judge", "model": "labels", "format": "polyguard", "window": 500}
TIERS = [tier for tier in ("encoder", "cascade", "ensemble") if (HERE / f"{tier}.json").exists()]
GUARDS_HELD_TO_THEM: tuple[dict[str, Any], ...] = (
    KEYWORDS,
    KEYWORDS | {"normalise": False},
    PATTERNS,
    PATTERNS | {"custom": [{"name": "case", "category": "case", "pattern": "CASE-[0-9]+"}]},
    {"use": "classifier"},
    {"use": "scm"},
    {"use": "scm", "floor": 0.0, "hits": 1, "words": 0},
    {"use": "classifier", "window": 60, "overlap": 20, "floor": 0.0},
    JUDGE,
    MODEL,
    MODEL | {"format": "shieldgemma"},
    {"use": "classifier", "format": "by-label"},
    {"use": "cascade", "guards": [KEYWORDS, {"use": "classifier"}, JUDGE]},
    {"use": "cascade", "guards": [{"use": "classifier"}, JUDGE], "clear": 0.1, "sure": 0.9},
    {"use": "cascade", "combine": "all_of", "guards": [KEYWORDS, {"use": "classifier"}]},
    {"use": "cascade", "combine": "vote", "guards": [KEYWORDS, PATTERNS, JUDGE]},
    *({"use": "classifier", "model": tier} for tier in TIERS),
    {"use": "beaver"},
    {"use": "beaver", "classifier": {"model": "encoder"}, "least": "moderate", "floor": 0.2},
)
NEEDING_A_MODEL = [options for options in GUARDS_HELD_TO_THEM if options["use"] == "cascade"][:2]


class Letters:
    """A model that answers by a letter, and is the surer the longer the question."""

    def send(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...], /) -> Sequence[Reply]:
        return self.send(calls)

    def _answer(self, call: Call) -> Reply:
        if not isinstance(call, Generate):
            return Failed("letters only")
        odds = [{"A": -(len(p) % 7) / 3, "B": -(len(p) % 5) / 3} for p in call.prompts]
        return Texts(tuple(max(o, key=lambda letter: o[letter]) for o in odds), tuple(odds))


class Labels(Letters):
    """A guard model that gives each label a probability, and names a category of harm."""

    def _answer(self, call: Call) -> Reply:
        assert isinstance(call, Generate)
        if not call.choices:
            return Texts(tuple(" S1, S9" for _ in call.prompts))
        first, *others = call.choices
        odds = tuple(
            {first: log(0.3 + len(prompt) % 97 / 200)} | dict.fromkeys(others, log(0.2))
            for prompt in call.prompts
        )
        return Texts(tuple(call.choices[0] for _ in call.prompts), odds)


ROUTE = Route({**makers(), "letters": Letters, "labels": Labels}, Local(2))

fragments = st.sampled_from(
    [
        "how to",
        "build a",
        "bomb",
        "b o m b",
        "api",
        "key",
        "mail ann@example.org",
        "4111 1111",
        "1111 1111",
        "203.0.113.9",
        "hello",
        "you fool",
        "CASE-77",
        "爆弾",
        "ＢＯＭＢ",
        "\u200b",
        "é",
    ]
)
texts = st.one_of(st.lists(fragments, max_size=30).map(" ".join), st.text(max_size=60))
parts = st.one_of(
    texts.map(Text),
    texts.map(lambda text: ToolCall("send", f'{{"body": "{text}"}}')),
    st.just(Image(data=b"x")),
)
contents = st.builds(
    Content,
    st.lists(parts, max_size=3).map(tuple),
    st.sampled_from(list(Role)),
    st.lists(texts.map(Content.of), max_size=2).map(tuple),
)
batches = st.lists(contents, max_size=4)

each_guard = pytest.mark.parametrize(
    "options", GUARDS_HELD_TO_THEM, ids=lambda options: str(options["use"])
)


def check(options: dict[str, Any], batch: Sequence[Content]) -> list[Verdict]:
    return run(build(options).check(batch), ROUTE.send)


def rounded(verdicts: Sequence[Verdict]) -> list[object]:
    """Verdicts but for the last bits of scores, which depend on how sums are grouped."""
    return [
        (v.guard, v.error, [(f.category, round(f.score, 4), f.span) for f in v.findings])
        for v in verdicts
    ]


def test_every_guard_in_the_table_is_held_to_the_laws() -> None:
    assert {options["use"] for options in GUARDS_HELD_TO_THEM} == set(GUARDS)


@each_guard
def test_it_is_a_guard(options: dict[str, Any]) -> None:
    guard = build(options)
    assert isinstance(guard, Guard)
    assert guard.name
    assert guard.judges
    assert guard == build(options)
    assert hash(guard) == hash(build(options))


@each_guard
def test_an_empty_batch_has_no_verdicts(options: dict[str, Any]) -> None:
    assert check(options, []) == []


@each_guard
@settings(max_examples=30, deadline=None)
@given(batch=batches)
def test_one_verdict_each_in_order(options: dict[str, Any], batch: list[Content]) -> None:
    together = check(options, batch)
    alone = [check(options, [content])[0] for content in batch]
    assert rounded(together) == rounded(alone)
    assert {verdict.guard for verdict in together} <= {build(options).name}


@each_guard
@settings(max_examples=30, deadline=None)
@given(batch=batches)
def test_scores_are_probabilities_and_spans_lie_in_their_part(
    options: dict[str, Any], batch: list[Content]
) -> None:
    for content, verdict in zip(batch, check(options, batch), strict=True):
        assert not verdict.error
        for finding in verdict.findings:
            assert finding.category
            assert 0.0 <= finding.score <= 1.0
            assert lies_in(finding, content)


def lies_in(finding: Finding, content: Content) -> bool:
    span = finding.span
    if span is None:
        return True
    return 0 <= span.start < span.end <= len(words(content.parts[span.part]))


@each_guard
@settings(max_examples=15, deadline=None)
@given(batch=batches)
def test_the_same_content_has_the_same_verdict_and_stays_as_it_was(
    options: dict[str, Any], batch: list[Content]
) -> None:
    before = [repr(content) for content in batch]
    assert check(options, batch) == check(options, batch)
    assert [repr(content) for content in batch] == before


@each_guard
@settings(max_examples=15, deadline=None)
@given(batch=batches)
def test_sync_async_merged_and_replayed_runs_agree(
    options: dict[str, Any], batch: list[Content]
) -> None:
    guard = build(options)
    tape: list[Round] = []
    here = run(recorded(guard.check(batch), tape), ROUTE.send)

    async def there() -> list[list[Verdict]]:
        merge = Merge(ROUTE.asend)
        plain = arun(guard.check(batch), ROUTE.asend)
        return await asyncio.gather(plain, *(arun(guard.check(batch), merge) for _ in range(3)))

    for verdicts in asyncio.run(there()):
        assert rounded(verdicts) == rounded(here)
    assert replay(guard.check(batch), tape) == here
    assert digest([here]) == digest([replay(guard.check(batch), tape)])


@pytest.mark.parametrize("options", [{"use": "classifier"}, JUDGE, *NEEDING_A_MODEL], ids=str)
def test_r16_a_guard_without_its_model_fails_closed_and_named(options: dict[str, Any]) -> None:
    guard = build(options)
    rail = Rail((guard, build(KEYWORDS)), Policy("p"))
    [decision] = run(rail.check([Content.of("hello")]), local.send)
    assert (decision.action, decision.failed) == (Action.BLOCK, (guard.name,))
    assert "no backend answers" in decision.verdicts[0].error

from __future__ import annotations

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from balustrade.core.content import Content
from balustrade.core.decision import Action, Decision
from balustrade.core.facts import Facts
from balustrade.core.verdict import Verdict
from balustrade.rails.metrics import BOUNDS, Latencies, Metrics
from balustrade.rails.trace import Event

HI = Content.of("hi")
GOOD = Decision(Action.ALLOW, HI, (Verdict("g"),), stage="input")

events = st.builds(
    Event,
    st.builds(
        Decision,
        st.sampled_from(Action),
        st.just(HI),
        st.lists(
            st.builds(Verdict, st.sampled_from("gh"), error=st.sampled_from(["", "x"])), max_size=2
        ).map(tuple),
        st.sampled_from(["", "rule"]),
        unjudged=st.sampled_from([(), (0,)]),
        stage=st.sampled_from(["input", "output"]),
    ),
    st.just(HI),
    st.builds(Facts, st.just("d"), micros=st.integers(0, 2_000_000)),
)


def counted(*batches: list[Event]) -> Metrics:
    metrics = Metrics()
    for batch in batches:
        metrics.take(batch)
    return metrics


@given(st.lists(events), st.lists(events))
def test_a_batch_counts_as_its_events_do(first: list[Event], second: list[Event]) -> None:
    apart = counted(*([event] for event in [*first, *second]))
    assert counted(first, second).counts() == apart.counts()


@given(st.lists(events))
def test_every_decision_is_counted_once_in_each_table(taken: list[Event]) -> None:
    counts = counted(taken).counts()
    assert sum(counts.decisions.values()) == len(taken)
    assert sum(sum(latency.counts) for latency in counts.latencies.values()) == len(taken)
    assert sum(latency.total for latency in counts.latencies.values()) == sum(
        event.facts.micros for event in taken
    )


def test_a_time_on_a_bound_belongs_to_its_bucket() -> None:
    taken = [Event(GOOD, HI, Facts("d", micros=micros)) for micros in (50, 51, 1_000_001)]
    latencies = counted(taken).counts().latencies
    counts = (1, 1, *[0] * (len(BOUNDS) - 2), 1)
    assert latencies == {"input": Latencies(counts, 1_000_102)}


def test_r16_a_decision_that_went_on_without_a_guard_is_counted_as_degraded() -> None:
    failed = replace(GOOD, verdicts=(Verdict("judge", error="hung"),))
    stopped = replace(failed, action=Action.BLOCK, rule="on_error")
    left_out = Facts("d", degraded=True)
    taken = [
        Event(failed, HI, Facts("d")),
        Event(stopped, HI, Facts("d")),
        Event(GOOD, HI, left_out),
    ]
    counts = counted(taken).counts()
    assert counts.degraded == {"input": 2}
    assert counts.guard_errors == {"judge": 2}
    assert counts.decisions == {
        ("input", "allow", ""): 2,
        ("input", "block", "on_error"): 1,
    }


def test_r4_what_no_guard_judged_is_counted() -> None:
    taken = [Event(replace(GOOD, unjudged=(0,)), HI, Facts("d"))]
    taken += [Event(replace(GOOD, verdicts=()), HI, Facts("d")), Event(GOOD, HI, Facts("d"))]
    assert counted(taken).counts().unjudged == {"input": 2}


def test_threads_and_loops_lose_no_count() -> None:
    metrics = Metrics()
    taken = [Event(GOOD, HI, Facts("d"))] * 500

    def count() -> None:
        for event in taken:
            metrics.take([event])
        asyncio.run(metrics.take_async(taken))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counts().decisions == {("input", "allow", ""): 4000}
    metrics.close()

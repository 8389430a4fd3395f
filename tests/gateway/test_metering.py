"""What a streamed answer costs: as upstream says, or by its length."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.gateway.metering import PER_TOKEN, Meter
from balustrade.gateway.sse import DONE, event

CHUNKS: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 0, "delta": {"content": "Grüße"}}, {"index": 1, "delta": {}}]},
    {"choices": [{"index": 1, "delta": {"reasoning_content": "Well, "}}]},
    {"choices": [{"index": 0, "text": " again"}]},
    {"type": "response.output_text.delta", "delta": "four"},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "sum"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "[1,2]"}}]}}]},
    {"choices": [{"delta": {"function_call": {"name": "old", "arguments": "{}"}}}]},
]
LETTERS = 5 + 6 + 6 + 4 + 3 + 5 + 5


def stream(*trees: Any) -> bytes:
    return b"".join(event(json.dumps(tree).encode()) for tree in trees) + DONE


@given(st.sets(st.integers(0, 400), max_size=20), st.integers(0, 1_000))
def test_a_stream_without_usage_costs_its_length_however_it_is_cut(
    places: set[int], asked: int
) -> None:
    meter, data = Meter(asked), stream(*CHUNKS)
    bounds = [0, *sorted(place for place in places if place < len(data)), len(data)]
    for start, end in pairwise(bounds):
        meter.feed(data[start:end])
    assert meter.tokens == -(-(asked + LETTERS) // PER_TOKEN)


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [], "usage": {"total_tokens": 12}},
        {"type": "response.completed", "response": {"usage": {"total_tokens": 12}}},
    ],
)
def test_what_upstream_reports_is_what_counts(last: Any) -> None:
    meter = Meter(9_000)
    meter.feed(stream(*CHUNKS, last))
    assert meter.tokens == 12


@pytest.mark.parametrize(
    "odd",
    [
        b"data: {\n\n",
        b"data: 7\n\n",
        b'data: {"choices": 3, "usage": [1]}\n\n',
        b'data: {"choices": [null, {"delta": "x"}], "usage": {"total_tokens": "all"}}\n\n',
        b"data: \xff\n\n",
        b'data: {"choices": [{"delta": {"tool_calls": [1, {"function": 2}, {}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"function_call": {"name": 1}}}]}\n\n',
    ],
)
def test_what_is_no_answer_costs_nothing_more(odd: bytes) -> None:
    meter = Meter(8)
    meter.feed(odd)
    assert meter.tokens == 8 // PER_TOKEN

"""Tool calls in pieces, put together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.content import ToolCall
from balustrade.core.errors import BackendError
from balustrade.gateway.shapes import CustomPiece, Delta, DeltaCall, FunctionPiece
from balustrade.gateway.toolcalls import LARGEST, OpenCalls


def piece(index: int, text: str, name: str | None = None) -> Delta:
    identifier = f"c{index}" if name else None
    call = DeltaCall(index, identifier, "function" if name else None, FunctionPiece(name, text))
    return Delta(tool_calls=[call])


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.integers(1, 5))
def test_r19_calls_come_out_whole_however_they_are_cut(texts: list[str], size: int) -> None:
    calls = OpenCalls()
    done: list[Any] = []
    for index, text in enumerate(texts):
        done += calls.take(piece(index, "", "f"))
        for at in range(0, len(text), size):
            done += calls.take(piece(index, text[at : at + size]))
    done += calls.rest()

    made = [OpenCalls.part(call) for call in done]
    assert made == [ToolCall("f", text, f"c{index}") for index, text in enumerate(texts)]
    assert calls.rest() == []


def test_a_call_is_sent_in_the_form_it_came() -> None:
    calls = OpenCalls()
    custom = DeltaCall(0, "c", "custom", None, CustomPiece("sh", "ls"))
    list(calls.take(Delta(tool_calls=[custom])))
    [first] = calls.take(Delta(function_call=FunctionPiece("old", "{}")))
    [second] = calls.rest()

    assert OpenCalls.delta(first, "ls") == {
        "tool_calls": [
            {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
        ]
    }
    assert OpenCalls.delta(second, "{}") == {"function_call": {"name": "old", "arguments": "{}"}}


def test_a_call_that_goes_on_after_its_end_or_without_end_is_an_error() -> None:
    calls = OpenCalls()
    list(calls.take(piece(0, "a", "f")))
    list(calls.take(piece(1, "b", "f")))

    with pytest.raises(BackendError, match="after the next had begun"):
        list(calls.take(piece(0, "c")))
    with pytest.raises(BackendError, match=f"more than {LARGEST} characters"):
        list(calls.take(piece(1, "x" * LARGEST)))

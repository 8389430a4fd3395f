from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.call import (
    LIGHT,
    Classify,
    Compute,
    Embed,
    Failed,
    Flow,
    Generate,
    Texts,
    Value,
    Vectors,
    classify,
    compute,
    embed,
    generate,
    is_light,
)
from balustrade.core.errors import BackendError

floats = st.floats(-1e6, 1e6, width=32)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(floats, min_size=n, max_size=n))))
def test_vectors_unpack_to_what_was_packed(rows: list[list[float]]) -> None:
    assert Vectors.of(rows).rows() == rows


def test_vectors_have_one_fixed_byte_form() -> None:
    assert Vectors.of([[1.0, 0.5]], ("a", "b")).data.hex() in {
        "0000803f0000003f",
        "3f8000003f000000",
    }


def test_each_helper_yields_its_call_and_returns_its_reply() -> None:
    flow: Flow[Texts] = generate("m", ["a"], choices=("yes", "no"))
    assert next(flow) == (Generate("m", ("a",), choices=("yes", "no")),)
    with pytest.raises(StopIteration) as stop:
        flow.send([Texts(("yes",))])
    assert stop.value.value == Texts(("yes",))
    assert next(classify("m", ["a"], ["b"])) == (Classify("m", ("a",), ("b",)),)
    assert next(embed("m", ["a"])) == (Embed("m", ("a",)),)
    assert next(compute(len, "abc", work=3)) == (Compute(len, "abc", 3),)


def test_a_failure_becomes_an_error_that_says_what_failed() -> None:
    flow = classify("m", ["a"])
    next(flow)
    with pytest.raises(BackendError, match="model 'm' did not answer"):
        flow.send([Failed("model 'm' did not answer")])


def test_too_few_texts_are_an_error() -> None:
    flow = generate("m", ["a", "b"])
    next(flow)
    with pytest.raises(BackendError, match="unexpected reply of kind 'Texts'"):
        flow.send([Texts(("one",))])


def test_a_reply_of_the_wrong_kind_is_an_error() -> None:
    flow = embed("m", ["a"])
    next(flow)
    with pytest.raises(BackendError, match="unexpected reply of kind 'Value'"):
        flow.send([Value(1)])


def test_only_declared_small_work_is_light() -> None:
    assert is_light(Compute(len, "", 10))
    assert not is_light(Compute(len, ""))
    assert not is_light(Compute(len, "", LIGHT + 1))
    assert not is_light(Embed("m", ("a",)))

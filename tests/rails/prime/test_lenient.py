from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.call import Spoken
from balustrade.rails.prime.lenient import distance, keyed, objects
from balustrade.rails.prime.notes import Route, answer_of, read

LINES = "Use this:\n```python\nfor x in y:\n    print({'a': 1})\n```\n- one\n- two"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('```json\n{"a": 1}\n```', [{"a": 1}]),
        ('Sure! {"a": 1} Anything else?', [{"a": 1}]),
        ('{"a": {"b": 2}', [{"a": {"b": 2}}]),
        ('{"a": "cut off he', [{"a": "cut off he"}]),
        ('{"a": "1", "b', [{"a": "1"}]),
        ('{"a": "1", "b":', [{"a": "1"}]),
        ('see {"a": "if (x) { y }"} there', [{"a": "if (x) { y }"}]),
        ("{'a': 'one', 'b': None, 'c': True}", [{"a": "one", "b": None, "c": True}]),
        ("{'a': \"it's\"}", [{"a": "it's"}]),
        ('{"a": 1, "b": [1, 2,],}', [{"a": 1, "b": [1, 2]}]),
        ('{"a": ",}"}', [{"a": ",}"}]),
        ('{"a": "line one\nline two"}', [{"a": "line one\nline two"}]),
        ('{"a": 1} and {"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": "ends in \\', [{"a": "ends in "}]),
        ("5", []),
        ("null", []),
        ("[1, 2]", []),
        ("", []),
        ("I cannot help with that.", []),
        ("{{{{", [{}]),
        ("{" * 60_000 + "x", []),
        ("{__import__('os').system('true')}", []),
    ],
)
def test_what_models_break_is_mended(text: str, found: list[dict[str, Any]]) -> None:
    assert objects(text) == found


plain = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.text(max_size=30) | st.booleans() | st.none() | st.integers(-9, 9),
    max_size=4,
)


@given(plain, st.text(max_size=20).filter(lambda t: "{" not in t))
def test_a_whole_object_is_read_as_it_is_whatever_stands_around_it(
    value: dict[str, Any], around: str
) -> None:
    [found] = objects(f"{around}{json.dumps(value)}{around}")
    assert found == value


@given(plain, st.text(max_size=200), st.integers(0, 200), st.characters())
def test_nothing_raises_and_all_that_is_found_are_objects(
    value: dict[str, Any], noise: str, place: int, letter: str
) -> None:
    text = json.dumps(value)
    for broken in (text[:place], text[:place] + letter + text[place + 1 :], noise + text[:place]):
        assert all(isinstance(each, dict) for each in objects(broken))


@given(st.data())
def test_a_broken_answer_of_a_guard_gives_a_known_route_or_the_careful_one(
    data: st.DataObject,
) -> None:
    route = data.draw(st.sampled_from(Route))
    text = json.dumps({"check": "It's fine, {really}.", "route": route.value, "tip": "a\nb"})
    cut = data.draw(st.integers(0, len(text)))
    place, letter = data.draw(st.integers(0, len(text))), data.draw(st.characters())
    for broken in (text[:cut], text[:place] + letter + text[place:]):
        assert read(Spoken(broken), 0.5, 0.5).route in {route, Route.POTENTIAL}


@given(st.integers(0, 400))
def test_an_answer_keeps_its_lines_byte_for_byte_or_is_a_beginning_of_them(cut: int) -> None:
    whole = json.dumps({"reevaluation": "ok", "final_response": LINES})
    assert answer_of(whole) == ("ok", LINES)
    raw = whole.replace("\\n", "\n")
    assert answer_of(raw) == ("ok", LINES)
    found = answer_of(whole[:cut])
    assert found is None or LINES.startswith(found[1])


def test_misspelt_keys_count_and_right_ones_go_first() -> None:
    keys = ("reevaluation", "final_response")
    assert keyed({"reevalution": "a", "Final Response": "b"}, keys) == {
        "reevaluation": "a",
        "final_response": "b",
    }
    assert keyed({"reevaluation": "right", "reevalution": "wrong"}, keys) == {
        "reevaluation": "right"
    }
    assert keyed({"something": 1}, keys) == {}


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_the_edit_distance_as_far_as_two(left: str, right: str) -> None:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) + 1):
        for j in range(len(right) + 1):
            if not i or not j:
                table[i][j] = i + j
                continue
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (left[i - 1] != right[j - 1]),
            )
    assert min(distance(left, right), 3) == min(table[-1][-1], 3)

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.content import Content, Image, Part, Role, Table, Text, ToolCall, kind

parts = st.one_of(
    st.text(max_size=20).map(Text),
    st.builds(ToolCall, name=st.text(max_size=8), arguments=st.just('{"a": 1}')),
    st.builds(Image, url=st.just("https://example.org/a.png")),
    st.just(Table(("a",), ((1,), (None,)))),
)
contents = st.builds(
    Content, st.lists(parts, max_size=4).map(tuple), st.sampled_from(list(Role)), st.just(())
)


@given(contents)
def test_content_survives_a_round_trip_through_json(content: Content) -> None:
    assert msgspec.json.decode(msgspec.json.encode(content), type=Content) == content


def test_content_has_one_fixed_form_on_the_wire() -> None:
    content = Content((Text("hi"), ToolCall("send", '{"to":"a"}')), Role.ASSISTANT)
    assert msgspec.json.encode(content) == (
        b'{"parts":[{"type":"text","text":"hi"},{"type":"tool_call","name":"send",'
        b'"arguments":"{\\"to\\":\\"a\\"}","id":""}],"role":"assistant","history":[]}'
    )


def test_the_words_of_content_are_its_texts_and_tool_arguments() -> None:
    content = Content((Text("one"), Image(url="https://example.org"), ToolCall("f", "two")))
    assert content.text == "one\ntwo"


def test_the_request_is_the_last_thing_the_user_said() -> None:
    history = (Content.of("first"), Content.of("second"), Content.of("reply", Role.ASSISTANT))
    assert Content.of("answer", Role.ASSISTANT, history).request == "second"
    assert Content.of("answer").request == ""


@given(parts)
def test_every_part_has_a_kind(part: Part) -> None:
    assert kind(part) in {"text", "image", "video", "tool_call", "table"}

from __future__ import annotations

import itertools
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.content import Content, Image, Text, ToolCall
from balustrade.core.errors import ContentError
from balustrade.core.verdict import Finding, Span
from balustrade.policy.redact import Mark, Style, merge, redact
from balustrade.policy.vault import Unmasker, Vault

MAIL = Mark(Span(0, 6, 17), "email")
LETTER = Content.of("write ann@mail.io now")

texts = st.lists(
    st.sampled_from(
        ["[EMAIL_1]", "[EMAIL", "_1]", "[", "]", '"', "\\", "é", "😀", "a", " ", "7", ":"]
    ),
    max_size=25,
).map("".join) | st.text(max_size=40)


@st.composite
def marked(draw: st.DrawFn) -> tuple[Content, list[Mark]]:
    text = draw(texts)
    cuts = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(cuts, cuts, st.sampled_from(["email", "national-id"]))))
    return Content.of(text), [Mark(Span(0, min(a, b), max(a, b)), c) for a, b, c in pairs]


def stream(vault: Vault, text: str, cuts: list[int], *, quoted: bool = False) -> str:
    unmasker = Unmasker(vault, quoted=quoted)
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[a:b] for a, b in itertools.pairwise(borders)]
    return "".join(map(unmasker.feed, chunks)) + unmasker.finish()


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("mask", "write [EMAIL] now"),
        ("replace", "write [REDACTED] now"),
        ("drop", "write  now"),
        ("reversible", "write [EMAIL_1] now"),
    ],
)
def test_each_style_writes_what_it_says(style: Style, expected: str) -> None:
    done = redact(LETTER, [MAIL], style)
    assert done.content.text == expected
    assert [mask.span for mask in done.masks] == [MAIL.span]


def test_the_same_value_has_the_same_placeholder_throughout_a_request() -> None:
    vault = Vault()
    first = redact(LETTER, [MAIL], "reversible", vault=vault)
    second = redact(
        Content.of("ann@mail.io, bob@x.io"),
        [Mark(Span(0, 0, 11), "email"), Mark(Span(0, 13, 21), "email")],
        "reversible",
        vault=vault,
    )
    assert first.content.text == "write [EMAIL_1] now"
    assert second.content.text == "[EMAIL_1], [EMAIL_2]"


def test_a_placeholder_never_equals_what_already_stands_in_the_text() -> None:
    content = Content.of("[EMAIL_1] ann@mail.io", history=(Content.of("[EMAIL_2]"),))
    done = redact(content, [Mark(Span(0, 10, 21), "email")], "reversible")
    assert done.content.text == "[EMAIL_1] [EMAIL_3]"
    assert done.vault.unmask(done.content.text) == content.text


def test_overlapping_spans_are_taken_out_as_one_named_by_the_longest() -> None:
    marks = [Mark(Span(0, 0, 4), "a"), Mark(Span(0, 3, 9), "b"), Mark(Span(0, 9, 11), "c")]
    assert merge(marks) == [Mark(Span(0, 0, 9), "b"), Mark(Span(0, 9, 11), "c")]


def test_findings_without_a_place_are_passed_over() -> None:
    assert redact(LETTER, [Finding("harm", 0.9)]).content == LETTER


@pytest.mark.parametrize("span", [Span(0, 3, 99), Span(1, 0, 1), Span(0, -1, 2)])
def test_a_span_outside_the_content_is_refused(span: Span) -> None:
    with pytest.raises(ContentError):
        redact(LETTER, [Mark(span, "email")])


def test_a_span_in_an_image_is_refused() -> None:
    with pytest.raises(ContentError, match="within its 0 characters"):
        redact(Content((Image(url="x"),)), [Mark(Span(0, 0, 1), "email")])


def test_a_vault_shows_and_writes_nothing_of_what_it_holds() -> None:
    vault = redact(LETTER, [MAIL], "reversible").vault
    assert repr(vault) == "<Vault of 1 values>"
    with pytest.raises(TypeError, match="not to be written"):
        pickle.dumps(vault)


def test_other_parts_and_the_role_stay() -> None:
    content = Content((Text("hi"), LETTER.parts[0], ToolCall("f", "{}")))
    done = redact(content, [Mark(Span(1, 6, 17), "email")]).content
    assert done.parts == (Text("hi"), Text("write [EMAIL] now"), ToolCall("f", "{}"))


@given(marked())
def test_r21_unmasking_what_was_masked_is_the_identity(case: tuple[Content, list[Mark]]) -> None:
    content, marks = case
    done = redact(content, marks, "reversible")
    assert done.vault.unmask(done.content.text) == content.text


@given(marked(), st.lists(st.integers(0, 80)))
def test_r21_a_stream_is_unmasked_alike_however_it_is_cut(
    case: tuple[Content, list[Mark]], cuts: list[int]
) -> None:
    content, marks = case
    done = redact(content, marks, "reversible")
    assert stream(done.vault, done.content.text, cuts) == content.text


def test_r21_only_an_open_placeholder_is_held_back() -> None:
    unmasker = Unmasker(redact(LETTER, [MAIL], "reversible").vault)
    fed = ["to ", "[", "x] [EM", "AIL_", "1]", "!", "[EMAIL_9"]
    assert [unmasker.feed(chunk) for chunk in fed] == [
        "to ",
        "",
        "[x] ",
        "",
        "ann@mail.io",
        "!",
        "[EMAIL_9",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**16) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Content, list[Mark]]:
    written = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()))
    cuts = st.integers(0, len(written))
    pairs = draw(st.lists(st.tuples(cuts, cuts), max_size=4))
    marks = [Mark(Span(0, min(a, b), max(a, b)), "phone") for a, b in pairs]
    return Content((ToolCall("send", written),)), marks


@given(calls(), st.sampled_from(["mask", "replace", "drop", "reversible"]))
def test_a_tool_call_stays_valid_json(case: tuple[Content, list[Mark]], style: Style) -> None:
    json.loads(redact(*case, style).content.text)


@given(calls(), st.lists(st.integers(0, 200)))
def test_r21_a_tool_call_comes_back_with_equal_arguments(
    case: tuple[Content, list[Mark]], cuts: list[int]
) -> None:
    done = redact(*case, "reversible")
    before, masked = json.loads(case[0].text), done.content.text
    assert json.loads(done.vault.unmask(masked, quoted=True)) == before
    assert json.loads(stream(done.vault, masked, cuts, quoted=True)) == before


def test_a_number_is_masked_in_quotes_and_comes_back_without() -> None:
    content = Content((ToolCall("pay", '{"card": 4111111111111111, "cvc": 12}'),))
    done = redact(content, [Mark(Span(0, 9, 25), "card")], "reversible")
    assert done.content.text == '{"card": "[CARD_1]", "cvc": 12}'
    assert done.vault.unmask(done.content.text, quoted=True) == content.text
    assert done.vault.unmask('{"[CARD_1]": 1}', quoted=True) == '{"4111111111111111": 1}'


def test_a_value_is_escaped_when_it_is_put_into_json() -> None:
    done = redact(Content.of('a "b"\n'), [Mark(Span(0, 0, 6), "name")], "reversible")
    assert done.vault.unmask('{"x": "[NAME_1]"}', quoted=True) == '{"x": "a \\"b\\"\\n"}'


def test_arguments_that_are_no_json_are_masked_as_text() -> None:
    content = Content((ToolCall("f", '{"to": "ann@mail.io'),))
    assert redact(content, [Mark(Span(0, 8, 19), "email")]).content.text == '{"to": "[EMAIL]'

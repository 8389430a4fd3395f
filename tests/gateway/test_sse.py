"""Server-sent events, in whatever pieces they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.errors import BackendError
from balustrade.gateway.sse import Event, Events, event

STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\n"
    b"data: one\n\n"
    b"event: named\r\ndata:two\r\ndata: \xc3\xa9\r\nid: 7\r\nretry: 1\r\n\r\n"
    b"event: empty\n\n"
    b"data\rdata: \r\r"
    b"data: last\n\n"
    b"data: unfinished"
)
EXPECTED = [
    Event(b"one"),
    Event(b"two\n\xc3\xa9", b"named"),
    Event(b"\n"),
    Event(b"last"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_r5_pieces_do_not_matter(cuts: list[int]) -> None:
    places = sorted({0, len(STREAM), *cuts})
    events = Events()

    found = [
        each
        for start, stop in itertools.pairwise(places)
        for each in events.feed(STREAM[start:stop])
    ]

    assert found == EXPECTED


def test_each_byte_alone() -> None:
    events = Events()
    assert [e for n in range(len(STREAM)) for e in events.feed(STREAM[n : n + 1])] == EXPECTED


def test_what_is_sent_is_read_again() -> None:
    assert Events().feed(event(b'{"a":1}', b"x") + event(b"b")) == [
        Event(b'{"a":1}', b"x"),
        Event(b"b"),
    ]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 60, b"data: xxxxxxxxxx\n" * 6])
def test_an_event_without_end_is_an_error(piece: bytes) -> None:
    events = Events(limit=50)
    with pytest.raises(BackendError, match="more than 50 bytes"):
        events.feed(piece)

"""Answers by the sentence: what leaves has passed, and what was sent is gone on from."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.content import Content, Stage
from balustrade.core.decision import Action
from balustrade.core.verdict import Finding, Severity, Verdict
from balustrade.flow.run import run
from balustrade.guards.keywords import Keywords
from balustrade.guards.patterns import Patterns
from balustrade.policy.document import Streaming
from balustrade.policy.model import Policy, Rule
from balustrade.rails.progress import Piece, joined, strongest
from balustrade.rails.rail import Rail
from balustrade.rails.sentences import Sentences
from balustrade.rails.stream import Stream

POLICY = Policy(
    "p", (Rule("rude", "rude", "regenerate"), Rule("mail", "email", "redact", threshold=0.1))
)
GUARDS = (Keywords(words=("you fool", "end. fool"), category="rude"), Patterns())
STREAM = Stream(Rail(GUARDS, POLICY, Stage.OUTPUT), Streaming(every="sentence"))


def started() -> Sentences:
    return Sentences(STREAM, Content.of("Why?"))


def feed(answer: Sentences, chunk: str) -> Piece:
    return run(answer.feed(chunk), local.send)


def finish(answer: Sentences) -> Piece:
    return run(answer.finish(), local.send)


def test_a_sentence_leaves_whole_and_only_once_it_has_passed() -> None:
    answer = started()
    assert feed(answer, "It pulls").text == ""
    assert feed(answer, ". It ").text == "It pulls."
    assert feed(answer, "rises, you").text == ""
    last = feed(answer, " fool. More. ")
    assert (last.text, last.cut) == ("", True)
    assert last.decision is not None
    assert last.decision.action is Action.REGENERATE
    assert answer.said == "It pulls."


def test_after_going_back_the_text_goes_on_from_what_was_sent() -> None:
    answer = started()
    feed(answer, "It pulls. You fool. ")
    answer.rewind()
    assert answer.text == "It pulls. "
    assert feed(answer, "It rises. ").text == " It rises."
    assert feed(answer, "You fool. ").cut
    answer.rewind()
    assert feed(answer, "It falls").text == ""
    end = finish(answer)
    assert end.text == " It falls"
    assert answer.said == "It pulls. It rises. It falls"
    assert end.decision is not None
    assert end.decision.action is Action.ALLOW


def test_what_is_masked_stays_masked_after_going_back() -> None:
    answer = started()
    masked = feed(answer, "Write to ann@example.org now. Then ").text
    assert masked.startswith("Write to [")
    assert "ann" not in masked
    assert feed(answer, "you fool. ").cut
    answer.rewind()
    assert feed(answer, "wait. ").text == " wait."
    assert answer.said == masked + " wait."


def test_harm_cannot_hide_between_what_was_sent_and_what_follows() -> None:
    answer = started()
    assert feed(answer, "This is the end. ").text in {"This is the end.", ""}
    assert feed(answer, "Fool. ").cut


def test_a_sentence_that_fails_at_the_very_end_does_not_leave() -> None:
    answer = started()
    feed(answer, "It pulls. You ")
    feed(answer, "fool")
    end = finish(answer)
    assert (end.text, end.cut) == ("", True)
    assert answer.said == "It pulls."


texts = st.lists(
    st.sampled_from(["It pulls. ", "Rises", "! ", "you ", "fool", ". ", "a@b.org ", "潮。", "\n"])
)


@settings(deadline=None)
@given(texts, st.lists(st.integers(1, 9), min_size=1))
def test_what_leaves_is_the_beginning_of_the_text_before_what_fails(
    parts: list[str], sizes: list[int]
) -> None:
    text = "".join(parts)
    answer, sent, at, turn = started(), "", 0, 0
    cut = False
    while at < len(text) and not cut:
        size = sizes[turn % len(sizes)]
        piece = feed(answer, text[at : at + size])
        sent, cut, at, turn = sent + piece.text, piece.cut, at + size, turn + 1
    if not cut:
        piece = finish(answer)
        sent, cut = sent + piece.text, piece.cut
    assert sent == answer.said
    whole = started()
    plain = feed(whole, text)
    told = plain.text + ("" if plain.cut else finish(whole).text)
    assert sent == told
    rude = re.compile(r"\byou fool\b")
    assert not rude.search(sent)
    assert cut or not rude.search(text)


def test_a_milder_finding_never_takes_a_graver_ones_place() -> None:
    severe = Finding("harm", 0.6, severity=Severity.SEVERE)
    mild = [Finding("harm", 0.9 - n / 100, severity=Severity.MINOR) for n in range(20)]
    known = joined(Verdict("g", (severe,)), Verdict("g", tuple(mild)))
    assert severe in strongest(known).findings

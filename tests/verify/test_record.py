from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from balustrade.core.content import Content, Image, Part, Role, Table, Text, ToolCall, words
from balustrade.core.decision import Action, Decision, Mask
from balustrade.core.digest import digest
from balustrade.core.errors import ContentError, VerificationError
from balustrade.core.facts import Facts
from balustrade.core.verdict import Finding, Severity, Span, Verdict
from balustrade.verify.identity import new_id
from balustrade.verify.keep import Keep
from balustrade.verify.record import Record, Status, decode, encode, entry, record

FACTS = Facts("dec_1", at=1_700_000_000_000_000, micros=120, request="req_1", route="chat")
CARD = "4111 1111"
TEXT = f"my card is {CARD}, once more: {CARD}"
FOUND = Finding("credit-card", 0.99, Span(0, 11, 20), Severity.SEVERE, note="a card")
BLOCKED = Decision(
    Action.BLOCK, Content.of(TEXT), (Verdict("patterns", (FOUND,)),), "no-cards", "9f2c"
)

texts = st.text(st.characters(codec="utf-8"), max_size=30)
levels = st.sampled_from(Keep)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Decision, Content]:
    """Return a decision and the content it is about, with spans anywhere in its parts."""
    parts = draw(
        st.lists(
            st.one_of(
                st.builds(Text, texts),
                st.builds(ToolCall, texts, texts),
                st.builds(
                    Table, st.tuples(texts), st.lists(st.tuples(texts), max_size=2).map(tuple)
                ),
                st.builds(Image, texts, st.binary(max_size=4)),
            ),
            min_size=1,
            max_size=3,
        )
    )
    content = Content(tuple(parts))
    spans = st.sampled_from(range(len(parts))).flatmap(
        lambda n: st.tuples(*[st.integers(0, len(words(parts[n])))] * 2).map(
            lambda ends: Span(n, min(ends), max(ends))
        )
    )
    findings = st.builds(
        Finding, st.sampled_from(["credit-card", "privacy", "hate"]), st.just(1.0), spans
    )
    verdicts = st.builds(
        Verdict, st.just("g"), st.lists(findings, max_size=3).map(tuple), st.just("") | texts
    )
    masks = st.builds(Mask, spans, st.just("secret"), st.just("[SECRET]"))
    decision = Decision(
        draw(st.sampled_from(Action)),
        content,
        tuple(draw(st.lists(verdicts, max_size=2))),
        unjudged=tuple(draw(st.sets(st.integers(0, len(parts) - 1)))),
        masks=tuple(draw(st.lists(masks, max_size=2))),
        stage="input",
    )
    return decision, content


def readable(value: object) -> list[str]:
    """Return every text in a value, keys aside."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in readable(item)]
    if isinstance(value, list):
        return [text for item in value for text in readable(item)]
    return []


def hidden(decision: Decision, original: Content) -> set[str]:
    spans = [mask.span for mask in decision.masks]
    spans += [
        f.span for v in decision.verdicts for f in v.findings if f.span and f.category != "hate"
    ]
    return {words(original.parts[s.part])[s.start : s.end] for s in spans}


@given(decisions())
def test_a_masked_record_holds_the_original_of_no_masked_span(
    case: tuple[Decision, Content],
) -> None:
    decision, original = case
    kept = record(decision, original, FACTS, keep=Keep.MASKED)
    assert kept.content is not None
    written = readable(msgspec.to_builtins(kept.content))
    written += [verdict.error for verdict in kept.verdicts]
    for secret in hidden(decision, original):
        if len(secret) >= 4:
            assert not any(secret in text for text in written)


@given(st.text("abc ", max_size=12), st.text("0123456789", min_size=1, max_size=9), st.text("abc "))
def test_an_original_of_any_length_is_gone_from_its_place(
    before: str, secret: str, after: str
) -> None:
    span = Span(0, len(before), len(before) + len(secret))
    original = Content.of(before + secret + after)
    for decision in (
        Decision(Action.REDACT, Content.of(""), masks=(Mask(span, "pin", "[PIN]"),)),
        Decision(Action.BLOCK, original, (Verdict("g", (Finding("pin", 1.0, span),)),)),
    ):
        kept = record(decision, original, FACTS, keep=Keep.MASKED)
        assert kept.content == Content.of(f"{before}[PIN]{after}")


@given(decisions())
def test_a_digest_record_holds_nothing_of_the_content(case: tuple[Decision, Content]) -> None:
    decision, original = case
    kept = record(decision, original, FACTS, keep=Keep.DIGEST)
    assert kept.content is None
    errors = [verdict.error for verdict in kept.verdicts]
    assert not any(words(p) in e for p in original.parts if len(words(p)) > 8 for e in errors)
    assert kept.digest == digest(original)


@given(decisions(), levels)
def test_a_record_reads_back_as_it_was_written(case: tuple[Decision, Content], keep: Keep) -> None:
    kept = record(*case, FACTS, keep=keep)
    assert decode(encode(kept)) == kept


@given(decisions(), st.booleans(), levels)
@example((Decision(Action.ALLOW, Content.of("")), Content.of("")), False, Keep.DIGEST)
def test_r4_what_was_not_scanned_is_never_logged_as_passed(
    case: tuple[Decision, Content], degraded: bool, keep: Keep
) -> None:
    decision, original = case
    kept = record(decision, original, replace(FACTS, degraded=degraded), keep=keep)
    whole = bool(decision.verdicts) and not decision.unjudged
    if not whole:
        assert kept.status in {Status.NOT_SCANNED, Status.STOPPED}
    if kept.status is Status.PASSED:
        assert whole
        assert not kept.failed
        assert not degraded
    assert kept.unjudged == decision.unjudged


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unjudged": (0,)}, "'passed' where the rest says 'not-scanned'"),
        ({"verdicts": ()}, "'passed' where the rest says 'not-scanned'"),
        ({"degraded": True}, "'passed' where the rest says 'degraded'"),
        ({"failed": ("g",)}, "'passed' where the rest says 'degraded'"),
        ({"action": "block"}, "'passed' where the rest says 'stopped'"),
        ({"action": "shrug"}, "no action is named 'shrug'"),
    ],
)
def test_r4_a_record_that_contradicts_itself_is_refused(
    change: dict[str, object], why: str
) -> None:
    passed = Decision(Action.ALLOW, Content.of("hi"), (Verdict("g"),))
    kept = record(passed, passed.content, FACTS, keep=Keep.DIGEST)
    assert kept.status is Status.PASSED
    with pytest.raises(ValueError, match=why):
        replace(kept, **change)
    forged = {**msgspec.to_builtins(kept), **change}
    with pytest.raises(VerificationError, match=why):
        decode(msgspec.json.encode(forged))


def test_r16_what_went_on_although_a_guard_failed_is_marked() -> None:
    decision = Decision(Action.ALLOW, Content.of("hi"), (Verdict("judge", error="timed out"),))
    kept = record(decision, decision.content, FACTS, keep=Keep.DIGEST)
    assert (kept.status, kept.degraded, kept.failed) == (Status.DEGRADED, True, ("judge",))


def test_a_blocked_card_is_masked_wherever_it_stands() -> None:
    kept = record(BLOCKED, Content.of(TEXT), FACTS, keep=Keep.MASKED)
    assert kept.content == Content.of("my card is [CREDIT_CARD], once more: [REDACTED]")
    assert CARD.encode() not in encode(kept)


def test_a_harm_stays_readable_in_a_masked_record() -> None:
    found = Finding("hate", 0.9, Span(0, 0, 5))
    decision = Decision(Action.BLOCK, Content.of("a bad word"), (Verdict("g", (found,)),))
    kept = record(decision, decision.content, FACTS, keep=Keep.MASKED)
    assert kept.content == Content.of("a bad word")


def test_a_full_record_holds_the_original_but_no_history_and_no_media() -> None:
    parts: tuple[Part, ...] = (Text(TEXT), Image(data=b"\x89PNG", media_type="image/png"))
    original = Content(parts, Role.USER, (Content.of("earlier"),))
    kept = record(BLOCKED, original, FACTS, keep=Keep.FULL)
    assert kept.content is not None
    assert kept.content.history == ()
    text, image = kept.content.parts
    assert text == Text(TEXT)
    assert isinstance(image, Image)
    assert image.data == b""
    assert image.url == f"sha256:{digest(parts[1])}"


def test_a_span_outside_its_part_withholds_every_part() -> None:
    stray = Finding("credit-card", 1.0, Span(0, 5, 900))
    decision = Decision(Action.BLOCK, Content.of(TEXT), (Verdict("g", (stray,)),))
    kept = record(decision, Content.of(TEXT), FACTS, keep=Keep.MASKED)
    assert kept.content == Content.of("[withheld]")


def test_an_error_that_quotes_a_secret_is_kept_without_it() -> None:
    verdicts = (*BLOCKED.verdicts, Verdict("judge", error=f"cannot parse {CARD!r}"))
    decision = replace(BLOCKED, verdicts=verdicts)
    kept = record(decision, Content.of(TEXT), FACTS, keep=Keep.MASKED)
    assert kept.verdicts[1].error == "cannot parse '[REDACTED]'"


def test_the_digest_does_not_grow_with_the_conversation() -> None:
    turn = Content.of("hi")
    later = Content.of("hi", history=(Content.of("a"), Content.of("b")))
    digests = {
        record(BLOCKED, content, FACTS, keep=Keep.DIGEST).digest for content in (turn, later)
    }
    assert digests == {digest(turn)}


def test_a_lone_surrogate_is_refused_by_name() -> None:
    decision = Decision(Action.ALLOW, Content.of("\ud800"), (Verdict("g"),))
    with pytest.raises(ContentError, match="'dec_1' is not valid Unicode"):
        record(decision, decision.content, FACTS, keep=Keep.FULL)


def test_the_written_form_is_fixed() -> None:
    kept = record(BLOCKED, Content.of(TEXT), FACTS, keep=Keep.MASKED)
    assert encode(kept) == WRITTEN
    assert entry(kept).data == WRITTEN
    assert (entry(kept).id, entry(kept).at) == ("dec_1", 1_700_000_000_000_000)
    assert decode(WRITTEN) == kept


WRITTEN = (
    b'{"id":"dec_1","at":1700000000000000,"stage":"","action":"block","status":"stopped",'
    b'"digest":"1b414d53d26087cb71643114a8dae67fbbe77f6112c6975f0f7f16f0db455e1a","keep":"masked",'
    b'"content":{"parts":[{"type":"text","text":'
    b'"my card is [CREDIT_CARD], once more: [REDACTED]"}],"role":"user","history":[]},'
    b'"rule":"no-cards","revision":"9f2c",'
    b'"verdicts":[{"guard":"patterns","findings":[{"category":"credit-card","score":0.99,'
    b'"span":{"part":0,"start":11,"end":20},"severity":3,"note":""}],"error":""}],'
    b'"micros":120,"request":"req_1","route":"chat"}'
)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"id": 3}'])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="not a record"):
        decode(data)


def test_ids_sort_in_the_order_they_were_made() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(identifier) for identifier in ids} == {36}


def test_ids_of_many_threads_are_unique() -> None:
    made: list[str] = []

    def make() -> None:
        made.extend([new_id() for _ in range(2000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


def test_a_record_is_made_by_name_only() -> None:
    with pytest.raises(TypeError):
        Record("dec_1")  # type: ignore[call-arg]  # that it is refused is what is shown

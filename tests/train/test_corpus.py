from __future__ import annotations

from collections import Counter
from pathlib import Path

from balustrade.data.example import Example, Kind
from balustrade.train import asks, everyday, languages, posts, prose, tasks
from balustrade.train.corpus import OWN, Corpus, held_out, late, sentences, stories
from balustrade.train.excluded import excluded
from balustrade.train.parallel import Pair

PLAIN = [
    Pair(f"the {n} trains leave from the third platform", f"xx {n} yy", "de") for n in range(9)
]
PLAIN += [Pair(f"the {n} parcels were sent to the old address", f"zz {n}", "fr") for n in range(9)]


def corpus() -> Corpus:
    rows = [
        *(
            Example(f"h{n}", f"how to rob bank number {n}", "unsafe", Kind.PROMPT)
            for n in range(30)
        ),
        *(
            Example(f"b{n}", f"how to paint wall number {n}", "safe", Kind.BENIGN)
            for n in range(30)
        ),
    ]
    english = [Example(r.id, r.text, r.label, r.kind, lang="en") for r in rows]
    return Corpus(english, ["own"] * len(english), [*PLAIN, *languages.pairs()])


def test_a_template_meets_every_group_and_leaves_no_slot() -> None:
    rows = posts.examples()
    assert not [row.id for row in rows if "{" in row.text]
    by_lang = Counter(row.lang for row in rows)
    assert set(by_lang) <= set(languages.phrases())
    assert min(by_lang.values()) > 500
    for lang in by_lang:
        labels = Counter(row.label for row in rows if row.lang == lang)
        assert 0.7 < labels["safe"] / labels["unsafe"] < 1.4


def test_the_same_groups_are_spoken_of_in_abuse_and_in_fair_posts() -> None:
    rows = [row for row in posts.examples() if "-group-" in row.id]
    groups = {
        label: {(row.lang, row.id.rpartition("-group-")[2]) for row in rows if row.label == label}
        for label in ("safe", "unsafe")
    }
    assert groups["safe"] == groups["unsafe"]


def test_what_copies_a_test_row_is_not_learnt() -> None:
    assert not {row.id for row in late()} & excluded()
    known = languages.phrases()
    for name in excluded():
        if name.startswith("own-"):
            lang, _, phrase = name.removeprefix("own-").partition("-")
            assert phrase not in known[lang]


def test_contrasts_are_half_harmful_half_harmless() -> None:
    rows = [row for row in late() if row.source.startswith("contrasts-")]
    assert len(rows) > 1_600
    english = [row for row in rows if row.lang == "en"]
    assert len({row.text.casefold() for row in english}) == len(english) > 700
    unsafe = [row for row in rows if row.is_unsafe]
    assert 0.45 < len(unsafe) / len(rows) < 0.55
    assert all(row.hazards for row in unsafe)
    assert not any(row.hazards for row in rows if not row.is_unsafe)


def test_harmful_and_harmless_how_tos_are_asked_in_the_same_forms() -> None:
    rows = [row for row in late() if row.source.startswith("howtos-")]
    for lang, opening in (("en", "how can i "), ("zh", "如何")):
        own = [row for row in rows if row.lang == lang]
        labels = {row.label for row in own if row.text.startswith(opening)}
        assert labels == {"safe", "unsafe"}
        assert len({row.text for row in own}) == len(own) > 1_200
        assert all(bool(row.hazards) == row.is_unsafe for row in own)


def test_what_came_later_is_kept_from_the_first_round() -> None:
    first, both = {row.id for row in late(1)}, {row.id for row in late()}
    assert first < both
    new = {name.rpartition("-")[0] for name in both - first}
    assert new == {
        "howto-en", "howto-zh",
        *(f"contrast-{lang}-again" for lang in ("bn", "en", "jv", "zh")),
    }  # fmt: skip


def test_a_story_has_ordinary_sentences_around_the_one_that_matters() -> None:
    rows = stories(corpus(), 60, 0)
    assert rows == stories(corpus(), 60, 0)
    ordinary = {text for pair in PLAIN for text in (pair.english, pair.other)}
    for row in rows:
        if "thread" not in row.source:
            assert any(text in row.text for text in ordinary)
            assert row.lang in {"en", "de", "fr"}
    harmful = [row for row in rows if row.source == "story-request"]
    assert len(harmful) > 40
    assert all(row.is_unsafe for row in harmful)
    twins = [row for row in rows if row.source == "story-twin"]
    assert not any(row.is_unsafe or "rob bank" in row.text for row in twins)


def test_sentences_of_each_language_are_harmless_rows() -> None:
    rows = sentences(PLAIN, 5, 0)
    assert Counter(row.lang for row in rows) == {"de": 5, "fr": 5}
    assert {row.kind for row in rows} == {Kind.BENIGN}


def test_ordinary_requests_are_harmless_in_every_language_and_fill_their_slot() -> None:
    rows = tasks.examples()
    assert rows == tasks.examples()
    by_lang = Counter(row.lang for row in rows)
    assert len(by_lang) >= 20
    assert min(by_lang.values()) > 500
    assert not any(row.is_unsafe or "{t}" in row.text for row in rows)
    assert len({(row.lang, row.text) for row in rows}) > 0.99 * len(rows)


def test_prose_is_harmful_for_a_sentence_that_harmless_prose_never_has() -> None:
    rows = prose.examples()
    assert rows == prose.examples()
    for lang in {row.lang for row in rows}:
        own = [row for row in rows if row.lang == lang]
        safe = [row for row in own if not row.is_unsafe]
        assert 0.4 < len(safe) / len(own) < 0.8
        hazards = Counter(hazard for row in own for hazard in row.hazards)
        assert set(hazards) == {"S1", "S10", "S11", "S12"}
        assert not any(row.hazards for row in safe)
    folder = Path(prose.__file__).parent
    lines = dict(line.split("\t") for line in (folder / "en.tsv").read_text("utf-8").splitlines())
    harmful = [text for name, text in lines.items() if not name.startswith("safe-")]
    for row in rows:
        if row.lang == "en":
            assert any(text in row.text for text in harmful) == row.is_unsafe


def test_questions_are_alike_but_for_what_they_ask() -> None:
    rows = asks.examples()
    assert rows == asks.examples()
    assert {row.label for row in rows} == {"safe", "unsafe"}
    assert not any("{" in row.text for row in rows)
    assert all(row.hazards for row in rows if row.is_unsafe)
    words = {
        label: {word for row in rows if row.label == label for word in row.text.lower().split()}
        for label in ("safe", "unsafe")
    }
    assert len(words["safe"] & words["unsafe"]) > 0.6 * len(words["unsafe"])


def test_everyday_requests_calibrate_and_teach_nothing() -> None:
    rows = everyday.examples()
    assert len({row.id for row in rows}) == len(rows)
    assert len({(row.text, row.response) for row in rows}) == len(rows)
    asked = [row for row in rows if row.kind is Kind.BENIGN]
    assert len({row.text for row in asked}) == len(asked) > 3_500
    by_lang = Counter(row.lang for row in asked)
    assert len(by_lang) == 28
    assert min(by_lang.values()) >= 60
    assert not any(row.is_unsafe or "\\n" in row.text or not row.text.strip() for row in rows)
    assert not {row.text for row in rows} & {row.text for row in late()}
    plain = corpus()
    held = held_out(plain._replace(apart=rows))
    assert [row for row in held.rows if row.source.startswith(everyday.SOURCE)] == rows
    assert held.stems[-1] == rows[-1].source
    assert len(held.rows) == len(held_out(plain).rows) + len(rows)


def test_everyday_answers_are_plain_and_delicate_in_the_same_parts_in_each_language() -> None:
    rows = everyday.answers()
    assert {row.kind for row in rows} == {Kind.RESPONSE}
    assert not any(row.is_unsafe or "\\n" in row.response or not row.text for row in rows)
    by_lang = Counter(row.lang for row in rows)
    delicate = Counter(row.lang for row in rows if row.source == f"everyday-delicate-{row.lang}")
    plain = Counter(row.lang for row in rows if row.source == f"everyday-plain-{row.lang}")
    assert delicate + plain == by_lang
    assert len(by_lang) >= 16
    assert min(by_lang.values()) > 30
    assert all(0.35 < delicate[lang] / count < 0.5 for lang, count in by_lang.items())


def test_everyday_requests_set_thresholds() -> None:
    assert not everyday.SOURCE.startswith(OWN)

from __future__ import annotations

from collections import Counter

from balustrade.data.example import Example, Kind
from balustrade.train import languages, posts
from balustrade.train.corpus import Corpus, late, sentences, stories
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
    rows = [row for row in late() if row.source == "contrasts"]
    assert len(rows) > 700
    assert len({row.text.casefold() for row in rows}) == len(rows)
    unsafe = [row for row in rows if row.is_unsafe]
    assert 0.45 < len(unsafe) / len(rows) < 0.55
    assert all(row.hazards for row in unsafe)
    assert not any(row.hazards for row in rows if not row.is_unsafe)


def test_a_story_has_ordinary_sentences_around_the_one_that_matters() -> None:
    rows = stories(corpus(), 60, 0)
    assert rows == stories(corpus(), 60, 0)
    ordinary = {text for pair in PLAIN for text in (pair.english, pair.other)}
    for row in rows:
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

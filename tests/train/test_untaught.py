"""Rows that nothing is taught are many, even, of many languages, and stay untaught."""

from __future__ import annotations

from collections import Counter

from balustrade.data.example import Kind
from balustrade.train import untaught
from balustrade.train.corpus import late


def test_requests_and_posts_stand_beside_their_twins_in_many_languages() -> None:
    rows = [row for row in untaught.examples() if row.source == "untaught-requests"]
    langs = Counter(row.lang for row in rows)
    assert langs["en"] > 4_000
    assert len(langs) > 20
    assert min(langs.values()) >= 40
    for lang in langs:
        own = [row for row in rows if row.lang == lang]
        assert len({row.text.casefold() for row in own}) == len(own)
        assert 0.4 < sum(row.is_unsafe for row in own) / len(own) < 0.6
    assert not any(row.hazards for row in rows if not row.is_unsafe)
    assert not any("S4" in row.hazards for row in rows)


def test_attacks_stand_beside_what_looks_like_them() -> None:
    rows = [row for row in untaught.examples() if row.source == "untaught-attacks"]
    assert {row.kind for row in rows} == {Kind.INJECTION, Kind.HARD_BENIGN}
    assert len(rows) > 900
    assert 0.45 < sum(row.is_unsafe for row in rows) / len(rows) < 0.55
    assert len({row.lang for row in rows}) > 10
    assert any("\n" in row.text for row in rows)


def test_names_are_unique_and_no_text_is_taught() -> None:
    rows = untaught.examples()
    assert len({row.id for row in rows}) == len(rows)
    assert not {row.text.casefold() for row in rows} & {row.text.casefold() for row in late()}

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from balustrade.data.example import Example, Kind
from balustrade.train import scenes
from balustrade.train.languages import LICENCE, phrases
from balustrade.train.parallel import Pair
from balustrade.train.scenes import Stock, made, stock

COUNT = 150
PHRASES: dict[str, Any] = tomllib.loads(
    Path(scenes.__file__).with_suffix(".toml").read_text(encoding="utf-8")
)


def known() -> Stock:
    """Return a stock whose texts say what they are: HARM, KIND, ABUSE or LINE, and a number."""
    rows = []
    for lang in ("en", "de", "ru"):
        for n in range(30):
            harm, kind, abuse = (f"{word} {lang}{n:02}" for word in ("HARM", "KIND", "ABUSE"))
            theft = ("S2",)
            rows += [
                Example("", f"{harm} request", "unsafe", Kind.PROMPT, hazards=theft, lang=lang),
                Example("", f"{kind} request", "safe", Kind.BENIGN, lang=lang),
                Example("", f"{abuse} fool", "unsafe", Kind.TOXICITY, lang=lang),
            ]
    lines = [
        Pair(f"LINE en{n:02} is an ordinary sentence.", f"LINE {lang}{n:02}.", lang)
        for lang in ("de", "ru")
        for n in range(30)
    ]
    return stock(rows, lines)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for row in made(known(), COUNT, 7):
        found.setdefault(row.source.removeprefix("scene-"), []).append(row)
    return found


def pattern(phrase: str, **slots: str) -> re.Pattern[str]:
    """Return what matches a phrase, its slots filled with what is told or with anything."""
    parts = re.split(r"\{(\w+)\}", phrase.replace("{{", "\1").replace("}}", "\2"))
    literal = [re.escape(part.replace("\1", "{").replace("\2", "}")) for part in parts[::2]]
    filled = [slots.get(name, ".*") for name in parts[1::2]]
    joined = "".join(a + b for a, b in zip(literal, [*filled, ""], strict=True))
    return re.compile(joined, re.DOTALL)


def orders() -> list[re.Pattern[str]]:
    """Return what matches any order to a model: our scenes' and every language's."""
    own = [
        re.compile(re.escape(t)) for x in phrases().values() for n, t in x.items() if n[:3] == "inj"
    ]
    return own + [pattern(thing) for thing in PHRASES["order"]["things"]]


def test_stock_keeps_short_rows_of_the_right_kinds_by_language() -> None:
    found = stock(
        [
            Example("", "too short", "unsafe", Kind.PROMPT, lang="en"),
            Example("", "x" * 300, "unsafe", Kind.PROMPT, lang="en"),
            Example("", "how to steal a car", "unsafe", Kind.PROMPT, hazards=("S2",), lang="en"),
            Example("", "a harmless prompt of people", "safe", Kind.PROMPT, lang="en"),
            Example("", "how to kill a process", "safe", Kind.HARD_BENIGN, lang="en"),
            Example("", "you are all such fools", "unsafe", Kind.TOXICITY, lang="en"),
            Example("", "you are all so kind to me", "safe", Kind.TOXICITY, lang="en"),
        ],
        [Pair("An English sentence of some length.", "Ein Satz.", "de"), Pair("car", "Auto", "de")],
    )
    assert found == Stock(
        {"en": [("how to steal a car", ("S2",))]},
        {"en": ["how to kill a process"]},
        {"en": ["you are all such fools"]},
        {"de": ["Ein Satz."], "en": ["An English sentence of some length."]},
        {"en": ["you are all so kind to me"]},
    )


def test_same_seed_same_rows() -> None:
    assert made(known(), 20, 3) == made(known(), 20, 3)
    assert made(known(), 20, 3) != made(known(), 20, 4)


def test_every_rule_makes_rows_of_its_own_name(rows: dict[str, list[Example]]) -> None:
    assert set(rows) == {
        "dressed", "dressed-twin", "override", "talk", "talk-twin", "page", "page-twin",
        "comply", "decline", "answer", "abuse",
    }  # fmt: skip
    assert all(COUNT / 2 < len(some) <= COUNT for some in rows.values())
    every = [row for some in rows.values() for row in some]
    assert (
        len({row.id for row in every}) == len({(r.text, r.response) for r in every}) == len(every)
    )
    assert all(row.licence == LICENCE for row in every)


def test_no_slot_is_left_unfilled(rows: dict[str, list[Example]]) -> None:
    for some in rows.values():
        for row in some:
            assert not re.search(r"\{\w+\}|\{\}", row.text + row.response), row
            assert not re.search(r"\{\{|\}\}", row.text + row.response), row


@pytest.mark.parametrize("rule", ["dressed", "talk"])
def test_twins_wear_the_same_dress_and_differ_in_the_request(
    rows: dict[str, list[Example]], rule: str
) -> None:
    dresses = [
        {re.sub(r"(HARM|KIND) \w\w\d\d request", "REQUEST", row.text) for row in rows[name]}
        for name in (rule, f"{rule}-twin")
    ]
    assert len(dresses[0] & dresses[1]) > 0.4 * min(map(len, dresses))
    assert all("HARM" in row.text and "KIND" not in row.text for row in rows[rule])
    assert all("KIND" in row.text and "HARM" not in row.text for row in rows[f"{rule}-twin"])


def test_only_the_harmful_twin_is_unsafe(rows: dict[str, list[Example]]) -> None:
    for row in rows["dressed"]:
        assert (row.label, row.kind, row.hazards) == ("unsafe", Kind.PROMPT, ("S2",))
        assert row.categories == ("jailbreak",)
    for row in rows["talk"]:
        assert (row.label, row.kind, row.hazards) == ("unsafe", Kind.PROMPT, ("S2",))
    for row in [*rows["dressed-twin"], *rows["talk-twin"]]:
        assert (row.label, row.kind, row.hazards) == ("safe", Kind.HARD_BENIGN, ())
        assert row.categories == ()


def test_the_last_turn_of_a_talk_says_nothing_of_the_request(
    rows: dict[str, list[Example]],
) -> None:
    for row in [*rows["talk"], *rows["talk-twin"]]:
        last = row.text.rpartition("\n")[2]
        assert "request" not in last
        assert any(last.endswith(known) for known in PHRASES["talk"]["last"])


def test_rules_switched_off_are_an_attack_whatever_is_asked(
    rows: dict[str, list[Example]],
) -> None:
    assert all(row.is_unsafe for row in rows["override"])
    for row in rows["override"]:
        assert row.kind is (Kind.PROMPT if "HARM" in row.text else Kind.INJECTION)
        assert bool(row.hazards) == ("jailbreak" in row.categories) == ("HARM" in row.text)
    share = sum("HARM" in row.text for row in rows["override"]) / len(rows["override"])
    assert share == pytest.approx(0.6, abs=0.15)


def test_a_page_holds_an_order_where_it_is_said_to_and_only_there(
    rows: dict[str, list[Example]],
) -> None:
    known_orders = orders()
    for row in rows["page"]:
        assert row.is_unsafe
        assert any(order.search(row.text) for order in known_orders), row.text
    for row in rows["page-twin"]:
        assert not row.is_unsafe
        assert not any(order.search(row.text) for order in known_orders), row.text


def test_pages_with_and_without_an_order_look_alike(rows: dict[str, list[Example]]) -> None:
    shapes = {name: pattern(shape) for name, shape in PHRASES["page"].items()}
    rarest_last = sorted(shapes, key=lambda name: len(shapes[name].pattern), reverse=True)
    worn = [
        Counter(
            next(name for name in rarest_last if shapes[name].fullmatch(row.text))
            for row in rows[rule]
        )
        for rule in ("page", "page-twin")
    ]
    assert set(worn[0]) == set(worn[1])
    assert len(worn[0]) >= len(shapes) - 1
    langs = [Counter(row.lang for row in rows[rule]) for rule in ("page", "page-twin")]
    assert langs[0].keys() == langs[1].keys() == {"en", "de", "ru"}
    sentences = [
        sum(row.text.count("LINE") for row in rows[rule]) / len(rows[rule])
        for rule in ("page", "page-twin")
    ]
    assert sentences[0] == pytest.approx(sentences[1], rel=0.2)
    kinds = {(row.kind, row.categories) for rule in ("page", "page-twin") for row in rows[rule]}
    assert kinds == {(Kind.INJECTION, ("page",))}


def test_orders_stand_at_the_beginning_the_middle_and_the_end(
    rows: dict[str, list[Example]],
) -> None:
    places = Counter[tuple[bool, bool]]()
    plain = [row for row in rows["page"] if "\n" not in row.text and row.text.count("LINE") > 2]
    for row in plain:
        places[row.text.startswith("LINE"), row.text.endswith(tuple("0123456789."))] += 1
    assert places[True, True]
    assert places.total() > places[True, True]


def test_answers_say_whether_they_harm_and_whether_they_refuse(
    rows: dict[str, list[Example]],
) -> None:
    wanted = {
        "comply": ("unsafe", False),
        "decline": ("safe", True),
        "answer": ("safe", False),
        "abuse": ("unsafe", False),
    }
    for rule, said in wanted.items():
        assert {(row.label, row.refusal) for row in rows[rule]} == {said}
        assert {row.kind for row in rows[rule]} == {Kind.RESPONSE}
        assert all(row.response and row.text for row in rows[rule])


def test_a_harmful_request_is_complied_with_declined_and_answered_beside_the_point(
    rows: dict[str, list[Example]],
) -> None:
    assert all("HARM" in row.text for row in [*rows["comply"], *rows["decline"]])
    assert {row.text[:4] for row in rows["answer"]} == {"HARM", "KIND"}
    assert {row.text[:4] for row in rows["abuse"]} == {"HARM", "KIND"}


def test_a_refusal_and_an_answer_that_complies_speak_of_the_same_acts(
    rows: dict[str, list[Example]],
) -> None:
    acts = [t for n, t in phrases()["en"].items() if n.startswith("act-")]
    for rule in ("comply", "decline"):
        assert sum(any(act in row.response for act in acts) for row in rows[rule]) > COUNT / 5


def test_abuse_is_in_the_language_of_the_request(rows: dict[str, list[Example]]) -> None:
    for row in rows["abuse"]:
        assert f"ABUSE {row.lang}" in row.response
        assert row.hazards == ("S10",)
    assert {row.lang for row in rows["abuse"]} == {"en", "de", "ru"}


def test_abuse_in_a_language_that_has_none_is_english() -> None:
    few = known()
    del few.abuse["de"]
    found = [row for row in made(few, 60, 1) if row.source == "scene-abuse" and row.lang == "de"]
    assert found
    assert all("ABUSE en" in row.response for row in found)


def test_a_row_is_in_the_language_of_its_request(rows: dict[str, list[Example]]) -> None:
    for rule in ("dressed", "dressed-twin", "talk", "comply", "decline", "answer"):
        for row in rows[rule]:
            [mark] = set(re.findall(r"(?:HARM|KIND) (\w\w)\d\d", row.text))
            assert mark == row.lang

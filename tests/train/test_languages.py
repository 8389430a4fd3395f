from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from balustrade.core.taxonomy import HAZARDS
from balustrade.data.example import Kind
from balustrade.train import languages
from balustrade.train.excluded import excluded
from balustrade.train.languages import LICENCE, SPACELESS, examples, pairs, phrases, read, words

HERE = Path(languages.__file__).parent
TEXTS = {file.stem: read(file) for file in HERE.glob("*.tsv")}
LANGS = sorted(TEXTS)
OTHERS = [lang for lang in LANGS if lang != "en"]
REPORTED = {
    "en", "zh", "ko", "pt", "de", "fr", "es", "it", "ru",
    "ar", "hi", "vi", "th", "ja", "id", "sw", "bn",
}  # fmt: skip
CODES = {hazard.code for hazard in HAZARDS}

each_language = pytest.mark.parametrize("lang", LANGS)


def test_every_language_we_report_has_phrases() -> None:
    assert set(LANGS) >= REPORTED


@each_language
def test_a_language_says_only_what_english_says(lang: str) -> None:
    assert TEXTS[lang].keys() <= TEXTS["en"].keys()


@each_language
def test_every_line_is_an_id_and_one_text(lang: str) -> None:
    file = HERE / f"{lang}.tsv"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert all(line.count("\t") == 1 and line == line.strip() for line in lines)
    assert len({line.split("\t")[0] for line in lines}) == len(lines)


@each_language
def test_every_frame_takes_one_act_and_nothing_else_takes_any(lang: str) -> None:
    for name, text in TEXTS[lang].items():
        assert text.count("{a}") == name.startswith("frame-"), name
        assert not set(text.replace("{a}", "")) & set("{}"), name


@each_language
def test_every_kind_of_phrase_is_there(lang: str) -> None:
    known = {name.rpartition("-")[0] for name in TEXTS[lang]}
    assert {
        "frame",
        "safe",
        "ask-bad",
        "ask-good",
        "post-bad",
        "post-good",
        "inj",
        "clean",
    } <= known
    assert len([name for name in TEXTS[lang] if name.startswith("act-")]) > 80


@pytest.mark.parametrize(
    ("lang", "script"),
    [("ru", "CYRILLIC"), ("uk", "CYRILLIC"), ("el", "GREEK"), ("ar", "ARABIC"), ("fa", "ARABIC"),
     ("hi", "DEVANAGARI"), ("bn", "BENGALI"), ("ta", "TAMIL"), ("th", "THAI"), ("ko", "HANGUL"),
     ("zh", "CJK"), ("zh-Hant", "CJK")],
)  # fmt: skip
def test_a_file_is_written_in_its_language(lang: str, script: str) -> None:
    letters = [c for text in TEXTS[lang].values() for c in text.replace("{a}", "")]
    letters = [c for c in letters if unicodedata.category(c) in {"Lo", "Ll", "Lu"}]
    own = [c for c in letters if unicodedata.name(c).startswith(script)]
    assert len(own) > 0.95 * len(letters)


@pytest.mark.parametrize("lang", OTHERS)
def test_hardly_any_phrase_was_left_in_english(lang: str) -> None:
    same = [name for name, text in TEXTS[lang].items() if text == TEXTS["en"][name]]
    assert len([name for name in same if not name.startswith("word-")]) <= 3, same


def test_a_phrase_that_copies_a_test_row_is_left_out_where_it_does() -> None:
    copies = [name for name in TEXTS["en"] if f"own-en-{name}" in excluded()]
    assert copies
    assert not set(copies) & set(phrases()["en"])
    assert not {row.id for row in examples()} & excluded()
    english = {pair.english for pair in pairs()}
    assert not {TEXTS["en"][name] for name in copies} & english


def test_rows_know_their_label_kind_language_and_licence() -> None:
    rows = examples()
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.licence == LICENCE
        assert row.lang in LANGS
        assert row.source == f"phrases-{row.lang}"
        assert not set(row.text) & set("{}")
        if row.kind is Kind.PROMPT:
            assert row.is_unsafe
        if row.kind is Kind.HARD_BENIGN:
            assert not row.is_unsafe
    assert {row.kind for row in rows} == {
        Kind.PROMPT, Kind.HARD_BENIGN, Kind.TOXICITY, Kind.INJECTION,
    }  # fmt: skip


def test_an_act_has_the_hazard_its_id_names() -> None:
    acts = [row for row in examples() if re.search(r"-act-", row.id)]
    assert all(row.hazards == (row.id.split("-act-")[1].split("-")[0],) for row in acts)
    assert {code for row in acts for code in row.hazards} <= CODES
    assert all(row.is_unsafe for row in acts)


def test_an_act_stands_alone_and_in_its_frames() -> None:
    rows = {row.id: row.text for row in examples()}
    english = phrases()["en"]
    framed = [rows[f"own-en-act-S2-1-{n}"] for n in range(languages.FRAMES)]
    assert rows["own-en-act-S2-1"] == english["act-S2-1"]
    assert all(english["act-S2-1"] in text for text in framed)
    assert len({rows["own-en-act-S2-1"], *framed}) == 1 + languages.FRAMES


def test_posts_about_a_group_of_people_are_hate() -> None:
    rows = {row.id: row for row in examples()}
    assert rows["own-en-post-bad-2"].hazards == ("S10",)
    assert rows["own-en-post-bad-1"].hazards == ()
    assert rows["own-en-post-good-2"].hazards == ()


def test_same_seed_same_rows_and_pairs() -> None:
    assert examples(4) == examples(4) != examples(5)
    assert pairs(4) == pairs(4) != pairs(5)


def test_a_pair_says_the_same_on_both_sides() -> None:
    known = phrases()
    sides = {(pair.english, pair.other) for pair in pairs() if pair.lang == "fr"}
    assert (known["en"]["act-S2-1"], known["fr"]["act-S2-1"]) in sides
    frames = {
        (known["en"][name].replace("{a}", known["en"]["act-S2-1"]),
         known["fr"][name].replace("{a}", known["fr"]["act-S2-1"]))
        for name in known["fr"] if name.startswith("frame-")
    }  # fmt: skip
    assert len(frames & sides) == languages.FRAMES
    assert not any("{" in text for side in sides for text in side)


def test_a_word_of_several_translations_makes_several_pairs() -> None:
    known = phrases()["de"]
    name = next(n for n, text in known.items() if n.startswith("word-") and " / " in text)
    found = [pair.other for pair in pairs() if pair.lang == "de"]
    assert {word.strip() for word in known[name].split(" / ")} <= set(found)


def test_the_pieces_wanted_are_whole_words_as_a_vocabulary_names_them() -> None:
    found = words()
    assert len(set(found)) == len(found)
    assert all(word == unicodedata.normalize("NFKC", word).lower() for word in found)
    assert not any(" " in word for word in found)
    starts = {word for word in found if word.startswith("▁")}
    bare = set(found) - starts
    spaceless = "".join(t for lang in SPACELESS for t in phrases()[lang].values())
    folded = unicodedata.normalize("NFKC", spaceless).lower()
    assert bare
    assert all(word in folded for word in bare)

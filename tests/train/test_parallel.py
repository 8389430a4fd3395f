from __future__ import annotations

import gzip
from pathlib import Path

from balustrade.train.parallel import Pair, read


def folder(root: Path) -> Path:
    (root / "lexicon").mkdir()
    rows = {
        "en-de.tsv.gz": ["a house\tein Haus\ttatoeba-laser", "a bug\tein Fehler\tunknown"],
        "en-zh.part.tsv.gz": ["a house\t房子\ttatoeba-cmn", "only two\tfields"],
        "lexicon/en-de.tsv.gz": ["house\tHaus\ttldr"],
        "notes.tsv.gz": ["not\tpairs\ttldr"],
    }
    for name, lines in rows.items():
        with gzip.open(root / name, "wt", encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in lines))
    return root


def test_only_pairs_of_known_sources_are_read(tmp_path: Path) -> None:
    assert read(folder(tmp_path)) == [
        Pair("a house", "ein Haus", "de"),
        Pair("a house", "房子", "zh"),
        Pair("house", "Haus", "de"),
    ]


def test_word_lists_can_be_left_out(tmp_path: Path) -> None:
    assert Pair("house", "Haus", "de") not in read(folder(tmp_path), words=False)

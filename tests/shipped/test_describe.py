from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from balustrade.core.errors import BackendError, PolicyError
from balustrade.core.taxonomy import HARM, HAZARDS, RESPONSE_HARM, TOXICITY
from balustrade.shipped import HERE, SHIPPED, Description, Head, describe, weights

each_shipped = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not (HERE / f"{name}.json").exists(), reason=f"{name}.json is not there"
            ),
        )
        for name in sorted(SHIPPED)
    ],
)


@each_shipped
def test_the_digest_names_the_bytes(name: str) -> None:
    assert sha256(weights(name)).hexdigest() == describe(name).sha256


def test_weights_stay_under_twelve_megabytes() -> None:
    assert sum(file.stat().st_size for file in HERE.glob("static.*")) < 12_000_000


def test_every_head_has_a_taxonomy_name_and_thresholds_that_fall_as_alarms_rise() -> None:
    known = describe("static")
    assert known.labels == (HARM, *(hazard.name for hazard in HAZARDS), TOXICITY, RESPONSE_HARM)
    for head in known.heads:
        limits = [head.thresholds[rate] for rate in sorted(head.thresholds, key=float)]
        assert limits == sorted(limits, reverse=True)
        assert 0.0 < head.threshold <= 1.0
        assert head.slope > 0


def test_the_manifest_and_the_card_lie_beside_the_weights() -> None:
    manifest = json.loads((HERE / "static.manifest.json").read_bytes())
    card = (HERE / "static.md").read_text(encoding="utf-8")
    assert describe("static").sha256 in card
    for entry in manifest["data"]:
        assert all(source in card for source in entry["sources"])
        assert not any("-NC" in licence.split(";")[0] for licence in entry["licences"])


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(PolicyError, match="model 'static' has no head 'sarcasm'; it has: harm, "):
        describe("static").head("sarcasm")


def test_a_model_that_is_not_shipped_is_named() -> None:
    with pytest.raises(BackendError, match="no model 'larger' is shipped"):
        describe("larger")


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "static.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BackendError, match=r"static\.json is damaged: .*missing"):
        describe("static", tmp_path)


def test_a_guard_reads_its_thresholds_without_numpy() -> None:
    code = (
        "import sys; from balustrade.guards.classifier import Classifier; "
        "assert Classifier().threshold_for('harm', 0.02) > 0; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_head_without_measured_rates_asks_for_a_threshold() -> None:
    bare = Description("m", "m.bin", "", (Head("harm", 0.0, 1.0, 0.0, 1.0, {}),), 0.01)
    with pytest.raises(PolicyError, match="give a threshold instead"):
        bare.threshold_for("harm", 0.05)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_manifest_names_every_file_of_rows_of_our_own(name: str) -> None:
    manifest = json.loads((HERE / f"{name}.manifest.json").read_bytes())
    own = manifest["own"] | manifest.get("calibrated", {"own": {}})["own"]
    folder = HERE.parent / "train"
    files = [file for kind in ("tsv", "toml", "txt") for file in folder.rglob(f"*.{kind}")]
    known = {
        file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files
    }
    # The static tier keeps the thresholds of its tables, and reads no everyday rows.
    old = {file: sha for file, sha in known.items() if not file.startswith("everyday/")}
    assert own == (old if name == "static" else known)

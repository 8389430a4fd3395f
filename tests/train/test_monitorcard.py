"""The monitor's card, from reports on the monitor that ships."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from balustrade.core.errors import DataError
from balustrade.evals.named import Access, subject
from balustrade.evals.streams.answers import Answer, AnswerSet
from balustrade.evals.streams.report import write
from balustrade.evals.suites import stream
from balustrade.shipped import HERE, describe
from balustrade.train import monitorcard

HARMLESS = Answer("1", "How do I bake bread?", "Mix flour, water and salt.", False)
SETS = [AnswerSet("bread", (HARMLESS,))]


def reported(folder: Path, fields: dict[str, object]) -> Path:
    full = subject("keywords", Access({"words": ("idiot",)}))
    how = stream.Options(onset=10, long=1, prefixes=0, samples=20)
    with closing(subject("scm", Access(fields))) as guard:
        write(stream.run(guard, full, SETS, how), folder)
    return folder


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "CLASSES", ((0, 20), (20, 60)))
        both = reported(folder / "both", {"confirm": "cascade"})
        return both, reported(folder / "alone", {})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("monitor.json", "monitor.safetensors"):
        shutil.copy(HERE / name, tmp_path)
    return tmp_path


def test_a_card_says_what_both_reports_found_and_of_which_weights(
    reports: tuple[Path, Path], out: Path
) -> None:
    monitorcard.main(*reports, out)
    text = (out / "monitor.md").read_text(encoding="utf-8")
    known = describe("monitor")
    assert known.confirmed is not None
    assert known.sha256 in text
    assert f"{known.confirmed.thresholds['0.01']:.4f} ({known.heads[0].threshold:.4f})" in text
    metrics = json.loads((out / "monitor.metrics.json").read_bytes())
    for way, folder in zip(("confirmed", "alone"), reports, strict=True):
        report = json.loads((folder / "report.json").read_bytes())
        onset = next(each for each in report["sets"] if each["name"] == "onset")
        found = next(each for each in metrics[way]["sets"] if each["name"] == "onset")
        assert found["recall"] == onset["systems"][0]["recall"]
        assert found["seen"] == report["deciles"][0]["seen"]["mean"]
        stopped = [1000 * each["value"] for each in metrics[way]["stopped"].values()]
        assert stopped == [each["per_1000"]["stream"]["value"] for each in report["lengths"]]
    first, second = (metrics[way]["sets"][1]["macro_f1"]["value"] for way in metrics)
    assert f"| onset | 20 | 10 | {first:.3f} ({second:.3f}) |" in text


def test_a_report_at_other_thresholds_is_refused(reports: tuple[Path, Path], out: Path) -> None:
    both, alone = reports
    with pytest.raises(DataError, match=r"report\.json: measured from .* on, what ships stops"):
        monitorcard.main(alone, both, out)


def test_reports_of_different_sets_are_refused(
    reports: tuple[Path, Path], out: Path, tmp_path: Path
) -> None:
    both, alone = reports
    other = msgspec.json.decode((alone / "report.json").read_bytes())
    other["sets"] = other["sets"][1:]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(DataError, match="reports of different sets"):
        monitorcard.main(both, tmp_path / "other", out)


def test_a_report_without_a_known_onset_is_refused(
    reports: tuple[Path, Path], out: Path, tmp_path: Path
) -> None:
    both, alone = reports
    other = msgspec.json.decode((both / "report.json").read_bytes())
    other["deciles"] = []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(DataError, match="no answers with a known onset"):
        monitorcard.main(tmp_path / "other", alone, out)


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("{}", "no report of")])
def test_what_is_no_report_is_refused(
    text: str | None, message: str, reports: tuple[Path, Path], out: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    if text is not None:
        (tmp_path / "none" / "report.json").write_text(text)
    with pytest.raises(DataError, match=message):
        monitorcard.main(tmp_path / "none", reports[1], out)

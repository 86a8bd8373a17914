"""`cxr evaluate`: the files that it writes, the films that its report shows, and the card that it updates."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import main
from cxrlib.models.bundle import Bundle, load_bundle, locate, write_bundle
from cxrlib.phantom.archive import ImageFormat, write_archive
from tests.support.tiny_bundles import tiny_bundle

FILMS = 4


@dataclass(frozen=True)
class Ran:
    """One call of the command: its output folder, the bundle before and after, and its phantoms."""

    folder: Path
    before: Bundle
    bundle: str
    phantoms: Path

    @property
    def page(self) -> str:
        return (self.folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("evaluate")
    bundle, phantoms = folder / "bundle", folder / "phantoms"
    shutil.copytree(locate("default"), bundle)
    before = load_bundle(str(bundle))
    write_archive(str(phantoms), FILMS, rows=256, masks=True, workers=1, styles=(ImageFormat.PNG_8,))
    films = folder / "clinic"  # the same pictures, as films of a clinic
    films.mkdir()
    pictures = sorted(path for path in (phantoms / "films").rglob("*") if path.is_file())
    for number, picture in enumerate(pictures):
        shutil.copy(picture, films / f"clinic-{number}.png")
    rows = [f"clinic-{number}.png,normal,test" for number in range(len(pictures))]
    (films / "index.csv").write_text("\n".join(["image,label,split", *rows]) + "\n")
    notes = folder / "sources.toml"
    notes.write_text('[phantom]\nfilms = "made up"\nlabels = "exact"\n')
    arguments = ["evaluate", str(bundle), str(phantoms), str(films), "--json", str(folder / "out.json"), "--write-card"]
    arguments += ["--report", str(folder / "report"), "--worst", "phantoms", "--sources", str(notes)]
    assert main(arguments) == Exit.SETTLED
    return Ran(folder, before, str(bundle), phantoms)


def test_json_is_written_to_its_file_and_beside_the_report(ran: Ran) -> None:
    written = (ran.folder / "out.json").read_text(encoding="utf-8")
    assert written == (ran.folder / "report" / "figures.json").read_text(encoding="utf-8")
    document = json.loads(written)
    assert document["films"] == 2 * FILMS
    assert document["sources"] == {"clinic": None, "phantom": {"films": "made up", "labels": "exact"}}
    dice = next(f for f in document["figures"] if (f["source"], f["figure"]) == ("phantom", "lung Dice"))
    assert dice["value"] > 0.9
    assert len(pd.read_csv(ran.folder / "report" / "films.csv")) == 2 * FILMS


def test_report_names_the_bundle_with_the_updated_card(ran: Ran) -> None:
    after = load_bundle(ran.bundle)
    assert after.digest != ran.before.digest
    assert after.files == ran.before.files
    assert {metric.dataset for metric in after.card.metrics} == {"clinic", "phantom"}
    assert after.card.model_copy(update={"metrics": ran.before.card.metrics}) == ran.before.card
    assert after.digest in ran.page
    assert ran.before.digest not in ran.page


def test_report_of_phantoms_shows_no_other_film(ran: Ran) -> None:
    assert "data:image/jpeg" in ran.page
    assert "film-0" in ran.page
    assert "clinic-" not in ran.page


def test_report_without_worst_films_shows_no_film(ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = tiny_bundle()
    write_bundle(str(tmp_path / "tiny"), tiny.card, tiny.files)
    arguments = ["evaluate", str(tmp_path / "tiny"), str(ran.phantoms), "--json", "-", "--report", str(tmp_path)]
    assert main([*arguments, "--worst", "none"]) == Exit.SETTLED
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page
    assert 'id="worst"' not in page
    assert json.loads(capsys.readouterr().out)["bundle"]["name"] == "tiny"


@pytest.mark.parametrize(
    "text", ["[phantom]\nfilms = 'a'\n", "[phantom]\nfilms = 'a'\nlabels = 'b'\nlicence = 'c'\n", "["]
)
def test_incomplete_notes_on_sources_are_refused(
    ran: Ran, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "sources.toml"
    notes.write_text(text)
    arguments = [
        "evaluate",
        "default",
        str(ran.phantoms),
        "--report",
        str(tmp_path / "report"),
        "--sources",
        str(notes),
    ]
    assert main(arguments) == Exit.USAGE
    assert "films and labels" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()

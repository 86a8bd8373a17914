"""The committed report of the default bundle: it matches the shipped bundle and shows no real films."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import cxrlib
from cxrlib.evaluation import read_source_notes
from cxrlib.models.bundle import load_bundle

FOLDER = Path(cxrlib.__file__).parent / "models" / "default-report"
REBUILD = "run `make report-default`"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "figures.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def page() -> str:
    return (FOLDER / "report.html").read_text(encoding="utf-8")


def test_report_matches_the_shipped_bundle(document: dict[str, Any], page: str) -> None:
    bundle = load_bundle("default")
    assert document["bundle"]["digest"] == bundle.digest, REBUILD
    assert document["bundle"]["version"] == bundle.card.bundle.version
    assert bundle.digest in page, REBUILD
    assert document["split"] == "test"


def test_report_confirms_every_figure_of_the_card(document: dict[str, Any]) -> None:
    found = {(figure["source"], figure["figure"]): figure for figure in document["figures"]}
    for metric in load_bundle("default").card.metrics:
        figure = found[metric.dataset, metric.metric]
        assert figure["films"] == metric.films
        assert figure["value"] == pytest.approx(metric.value, abs=5e-5), (metric.dataset, metric.metric)


def test_report_has_a_note_on_every_source(document: dict[str, Any], page: str) -> None:
    notes = read_source_notes(FOLDER / "sources.toml")
    assert document["sources"] == {source: note.model_dump() for source, note in notes.items()}, REBUILD
    assert page.count("not a medical device") == 1


def test_report_shows_phantoms_only(page: str) -> None:
    shown = re.findall(r'src="data:image/jpeg[^"]*" alt="([^"]*)"><figcaption><b>[^<]*</b> \(([^)]*)\)', page)
    assert shown
    assert len(shown) == page.count("data:image/jpeg")
    assert {source for _, source in shown} == {"phantom"}
    assert sorted(path.name for path in FOLDER.iterdir()) == ["figures.json", "report.html", "sources.toml"]


def test_report_is_one_small_self_contained_page(page: str) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)

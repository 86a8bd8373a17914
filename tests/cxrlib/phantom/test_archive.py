"""Archives of phantoms: objects and truth table agree, and both depend only on seed and options."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pandas as pd
import pytest

from cxrlib.archive.listing import list_sources
from cxrlib.errors import FilmError, UsageError
from cxrlib.phantom import make_phantom
from cxrlib.phantom.archive import DEFAULT_STYLES, SCORED, ImageFormat, write_archive
from cxrlib.phantom.bad_films import BadKind
from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.transfer_syntax import TransferSyntax
from cxrlib.reading.read import read_film
from cxrlib.settings import Settings

SIDE = 192


def contents(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".parquet")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_object_has_the_outcome_of_its_truth_row(tmp_path: Path) -> None:
    count, bad = len(DEFAULT_STYLES), len(BadKind)
    summary = write_archive(str(tmp_path), count, seed=1, rows=SIDE, bad=bad, workers=1)
    truth = pd.read_parquet(tmp_path / "truth.parquet").set_index("uri")
    assert (
        (summary.films, summary.bad)
        == (count, bad)
        == ((truth.expected == SCORED).sum(), (truth.expected != SCORED).sum())
    )
    assert summary.bytes == sum(path.stat().st_size for path in (tmp_path / "films").rglob("*") if path.is_file())
    assert len(summary.transfer_syntaxes) == len(TransferSyntax)
    listed = list(list_sources([str(tmp_path / "films")]))
    assert sorted(ref.uri for ref in listed) == list(truth.index)
    for ref in listed:
        with fsspec.open(ref.uri) as file:
            data = file.read()
        try:
            image = read_film(data, Settings(), 64, 64)
            outcome = SCORED
            assert image.facts.transfer_syntax == truth.transfer_syntax.replace({np.nan: None})[ref.uri]
        except FilmError as error:
            outcome = error.reason.value
        assert outcome == truth.expected[ref.uri], ref.uri


def test_film_n_does_not_depend_on_archive_size_or_workers(tmp_path: Path) -> None:
    write_archive(str(tmp_path / "small"), 3, seed=5, rows=SIDE, bad=1, workers=1)
    write_archive(str(tmp_path / "large"), 8, seed=5, rows=SIDE, bad=2, workers=2)
    small, large = contents(tmp_path / "small"), contents(tmp_path / "large")
    assert len(large) == 10
    assert small.items() <= large.items()


def test_archives_of_different_seeds_share_no_film(tmp_path: Path) -> None:
    styles = [DicomStyle()]
    write_archive(str(tmp_path / "a"), 3, seed=0, rows=SIDE, workers=1, styles=styles)
    write_archive(str(tmp_path / "b"), 3, seed=1, rows=SIDE, workers=1, styles=styles)
    assert not set(contents(tmp_path / "a").values()) & set(contents(tmp_path / "b").values())


def test_truth_and_masks_match_the_phantom(tmp_path: Path) -> None:
    write_archive(str(tmp_path), 2, seed=3, rows=SIDE, workers=1, styles=[ImageFormat.PNG_8], masks=True)
    for row in pd.read_parquet(tmp_path / "truth.parquet").itertuples():
        phantom = make_phantom(int(str(row.seed)), rows=SIDE, columns=SIDE)
        assert row.percent == phantom.percent
        assert row.film_class == phantom.film_class.value
        stem = (tmp_path / "masks" / str(row.path).removeprefix("films/")).with_suffix("")
        for name, mask in (("lung", phantom.lung), ("infection", phantom.infection)):
            drawn = cv2.imread(f"{stem}.{name}.png", cv2.IMREAD_GRAYSCALE)
            assert np.array_equal(drawn > 0, mask)


def test_sizes_are_mixed_by_default(tmp_path: Path) -> None:
    write_archive(str(tmp_path), 4, workers=1, styles=[ImageFormat.JPEG])
    truth = pd.read_parquet(tmp_path / "truth.parquet")
    assert len(set(zip(truth["rows"], truth["columns"], strict=True))) == 4


def test_archive_can_be_written_to_memory() -> None:
    uri = "memory://phantom-archive-test"
    write_archive(uri, 10, rows=128, workers=2, styles=[ImageFormat.PNG_8])
    filesystem = fsspec.filesystem("memory")
    try:
        assert len(filesystem.find("/phantom-archive-test/films")) == 10
        assert pd.read_parquet(f"{uri}/truth.parquet")["uri"].str.startswith("memory://").all()
    finally:
        filesystem.rm("/phantom-archive-test", recursive=True)


@pytest.mark.parametrize(
    "options", [{"count": -1}, {"bad": -1}, {"seed": -1}, {"styles": ()}, {"uri": "nosuch://x"}], ids=str
)
def test_invalid_archive_options_are_usage_errors(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        write_archive(**{"uri": str(tmp_path), "count": 1, **options})  # type: ignore[arg-type]

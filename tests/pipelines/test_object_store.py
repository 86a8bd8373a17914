"""A run from one S3 bucket into another, on a stub server: etags, duplicates, listings, single puts."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from cxr_flows.demo.s3_stub import s3_stub
from cxr_schemas import Reason
from cxrlib.archive.fetch import fetch
from cxrlib.archive.listing import list_sources
from cxrlib.errors import FilmError
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from cxrlib.runs.plan import read_plan
from tests.support.fakes import FakeEngineFactory, fake_settings, film_png
from tests.support.small_archives import BAD_FILES, score_films

s3fs = pytest.importorskip("s3fs", reason="the S3 stub comes with the demo extra")
pytest.importorskip("moto", reason="the S3 stub comes with the demo extra")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_stub("archive") as uri:
        store = s3fs.S3FileSystem()
        for number in range(5):
            store.pipe_file(f"archive/in/day {number % 2}/film{number}.png", film_png(number))
        store.pipe_file("archive/in/copy.png", film_png(0))
        store.pipe_file("archive/in/bad.txt", BAD_FILES["not_an_image"])
        store.pipe_file("archive/in/folder/", b"")
        yield uri


def test_bucket_prefix_is_listed_with_etags_and_without_folder_markers(bucket: str) -> None:
    refs = list(list_sources([f"{bucket}/in"]))
    assert sorted(ref.uri for ref in refs) == [
        f"{bucket}/in/bad.txt",
        f"{bucket}/in/copy.png",
        *sorted(f"{bucket}/in/day {number % 2}/film{number}.png" for number in range(5)),
    ]
    assert all(ref.version.startswith("etag:") for ref in refs)
    assert [ref.uri for ref in list_sources([f"{bucket}/in/*/film[01].png"])] == [
        f"{bucket}/in/day 0/film0.png",
        f"{bucket}/in/day 1/film1.png",
    ]


def test_run_from_bucket_to_bucket_reconciles(bucket: str) -> None:
    out = f"{bucket}/out"
    manifest = score_films(f"{bucket}/in", out, run_id="r")
    assert manifest.counts.model_dump() == {
        "listed": 7, "scored": 5, "rejected": 1, "duplicate": 1, "settled_before": 0,
    }  # fmt: skip
    assert len(pd.read_parquet(f"{out}/scores")) == 5
    stored = read_plan(ResultsRoot.at(out), "r")
    assert stored is not None
    (copy,) = [row for row in stored[0].to_pylist() if row["duplicate_of_uri"]]
    assert {copy["uri"], copy["duplicate_of_uri"]} == {f"{bucket}/in/copy.png", f"{bucket}/in/day 0/film0.png"}
    assert verify(out).ok
    again = score_films(f"{bucket}/in", out, engine=FakeEngineFactory())
    assert again.counts.settled_before == 6
    assert again.counts.duplicate == 1
    assert verify(out).ok


def test_object_replaced_after_listing_is_rejected_as_changed(bucket: str) -> None:
    store = s3fs.S3FileSystem()
    store.pipe_file("archive/changing/film.png", film_png(7))
    (ref,) = list_sources([f"{bucket}/changing"])
    assert fetch(ref, fake_settings()) == film_png(7)
    store.pipe_file("archive/changing/film.png", film_png(8))
    with pytest.raises(FilmError) as caught:
        fetch(ref, fake_settings())
    assert caught.value.reason is Reason.CHANGED
    store.rm("archive/changing/film.png")
    with pytest.raises(FilmError) as caught:
        fetch(ref, fake_settings())
    assert caught.value.reason is Reason.NOT_FOUND

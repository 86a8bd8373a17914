"""A film rejected by its first bytes gets the same reject as the whole file, and no more bytes are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from cxr_schemas import Reason
from cxrlib.archive.fetch import HEADER_FETCH_BYTES, MIN_SIZE_FOR_HEADER_FETCH
from cxrlib.archive.listing import list_sources
from cxrlib.errors import FilmError
from cxrlib.film_steps import ScoringParameters, fetch_and_read
from cxrlib.reading.early_rejection import rejection_from_head
from cxrlib.settings import ReadSettings, Settings
from cxrlib.types import CxrImage
from tests.support.fakes import fake_bundle
from tests.support.film_files import ABSENT, dicom, film, png

SETTINGS = Settings(read=ReadSettings(max_pixels=1_000_000))
PARAMETERS = ScoringParameters.of(fake_bundle().card)
LARGE = film(900, 800)

REJECTED: dict[str, dict[str, Any]] = {
    "ct": {"Modality": "CT"},
    "no modality, ct class": {"Modality": ABSENT, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
    "hand": {"BodyPartExamined": "HAND"},
    "lateral": {"ViewPosition": "LL"},
    "two frames": {"NumberOfFrames": 2},
    "too large": {"Rows": 1300},
    "too small": {"Rows": 20},
    "lateral ct": {"Modality": "CT", "ViewPosition": "LL"},
}
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
)


class Store(MemoryFileSystem):  # type: ignore[misc]
    """A file system that counts the bytes it returns."""

    protocol = "counting"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the base class
    bytes_read = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("counting://", "memory://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        data = bytes(super().cat_file(path, start=start, end=end, **kwargs))
        type(self).bytes_read += len(data)
        return data


@pytest.fixture
def store() -> Iterator[type[Store]]:
    fsspec.register_implementation("counting", Store, clobber=True)
    Store.store.clear()
    Store.bytes_read = 0
    yield Store


def outcome(path: str) -> CxrImage | FilmError:
    (ref,) = list_sources([path])
    return fetch_and_read(ref, SETTINGS, PARAMETERS)


def as_local(data: bytes, tmp_path: Any) -> CxrImage | FilmError:
    (tmp_path / "film").write_bytes(data)
    return outcome(str(tmp_path / "film"))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("elements", REJECTED.values(), ids=REJECTED.keys())
def test_large_object_with_a_rejected_header_has_the_same_reject_by_every_route(
    elements: dict[str, Any], syntax: str, store: type[Store], tmp_path: Any
) -> None:
    data = dicom(np.tile(LARGE, (2, 2)) if "Rows" not in elements else LARGE, syntax, elements=elements)
    data += bytes(max(0, MIN_SIZE_FOR_HEADER_FETCH - len(data)))
    fsspec.filesystem("counting").pipe_file("/film", data)
    got, whole = outcome("counting://film"), as_local(data, tmp_path)
    assert isinstance(got, FilmError)
    assert isinstance(whole, FilmError)
    assert (got.reason, str(got)) == (whole.reason, str(whole))
    assert store.bytes_read == HEADER_FETCH_BYTES


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_large_scored_film_is_fetched_once_and_read_the_same_by_every_route(
    syntax: str, store: type[Store], tmp_path: Any
) -> None:
    data = dicom(LARGE, syntax)
    data += bytes(max(0, MIN_SIZE_FOR_HEADER_FETCH - len(data)))
    fsspec.filesystem("counting").pipe_file("/film", data)
    got, whole = outcome("counting://film"), as_local(data, tmp_path)
    assert isinstance(got, CxrImage)
    assert isinstance(whole, CxrImage)
    assert got.content_digest == whole.content_digest
    assert np.array_equal(got.pixels, whole.pixels)
    assert got.facts == whole.facts
    assert store.bytes_read == len(data)


@pytest.mark.parametrize(
    "data",
    [
        dicom(film(), elements={"Modality": "CT"}),
        png(film(700, 900)) + bytes(2**20),
        b"no film" * 2**18,
        dicom(film(), elements={"SeriesDescription": "x" * HEADER_FETCH_BYTES, "Modality": "CT"}) + bytes(2**20),
    ],
    ids=["small", "png", "no image", "header longer than the fetched start"],
)
def test_file_not_rejected_by_its_first_bytes_is_fetched_whole(data: bytes, store: type[Store], tmp_path: Any) -> None:
    fsspec.filesystem("counting").pipe_file("/film", data)
    got, whole = outcome("counting://film"), as_local(data, tmp_path)
    assert type(got) is type(whole)
    if isinstance(got, FilmError):
        assert isinstance(whole, FilmError)
        assert (got.reason, str(got)) == (whole.reason, str(whole))
    assert store.bytes_read == len(data)


def test_changed_object_is_rejected_as_changed_before_its_header_counts(store: type[Store]) -> None:
    filesystem = fsspec.filesystem("counting")
    filesystem.pipe_file("/film", dicom(LARGE, elements={"ViewPosition": "LL"}))
    (ref,) = list_sources(["counting://film"])
    filesystem.pipe_file("/film", dicom(LARGE, elements={"ViewPosition": "LL"}) + b"more")
    got = fetch_and_read(ref, SETTINGS, PARAMETERS)
    assert isinstance(got, FilmError)
    assert got.reason is Reason.CHANGED


def test_truncated_header_gives_no_reject_or_that_of_the_whole_header() -> None:
    data = dicom(film(), elements={"ViewPosition": "LL"})
    whole = rejection_from_head(data, len(data), SETTINGS.read)
    assert whole is not None
    rejects = [rejection_from_head(data[:cut], len(data), SETTINGS.read) for cut in range(0, 1500)]
    assert {str(reject) for reject in rejects if reject is not None} == {str(whole)}
    assert None in rejects

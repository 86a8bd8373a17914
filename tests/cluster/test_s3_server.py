"""A real S3 server: long listings, unusual keys, multipart uploads, read-only sources, objects that change."""

from __future__ import annotations

import pytest
import s3fs

from cxr_schemas import Reason
from cxrlib.archive.fetch import fetch
from cxrlib.archive.listing import list_sources
from cxrlib.errors import FilmError, UsageError
from cxrlib.results.objects import ResultsRoot
from cxrlib.settings import Settings
from tests.cluster.servers.services import ObjectStore
from tests.support.fakes import film_png

UNUSUAL_KEYS = ("a b.png", "Thorax gro\u00df \u00e9.png", "\u80f8\u90e8.png", "plus+and%25.png", "it's [1] #2?.png")


@pytest.mark.usefixtures("as_owner")
def test_listing_continues_past_one_page_of_keys() -> None:
    store = s3fs.S3FileSystem()
    store.pipe({f"films/long/{number:04d}.png": b"%d" % number for number in range(1100)})
    refs = list(list_sources(["s3://films/long"]))
    assert [ref.uri for ref in refs] == [f"s3://films/long/{number:04d}.png" for number in range(1100)]


@pytest.mark.usefixtures("as_owner")
@pytest.mark.parametrize("key", UNUSUAL_KEYS)
def test_keys_with_spaces_symbols_and_unicode_are_listed_and_read(key: str) -> None:
    folder = f"odd{UNUSUAL_KEYS.index(key)}"
    s3fs.S3FileSystem().pipe_file(f"films/{folder}/{key}", film_png(3))
    (ref,) = list_sources([f"s3://films/{folder}"])
    assert ref.uri == f"s3://films/{folder}/{key}"
    assert fetch(ref, Settings()) == film_png(3)


@pytest.mark.usefixtures("as_owner")
def test_multipart_upload_is_listed_and_read() -> None:
    data = film_png(1) + bytes(11 << 20)
    with s3fs.S3FileSystem().open("films/parts/film.png", "wb", block_size=5 << 20) as file:
        for start in range(0, len(data), 1 << 20):
            file.write(data[start : start + (1 << 20)])
    (ref,) = list_sources(["s3://films/parts"])
    assert ref.version.endswith("-3"), "expected the etag of an upload in three parts"
    assert fetch(ref, Settings()) == data


@pytest.mark.usefixtures("as_scorer")
def test_large_result_is_stored_as_a_multipart_upload() -> None:
    data = bytes(101 << 20) + b"end"
    store = ResultsRoot.at("s3://scores/large")
    store.put("scores/object", data)
    assert store.get("scores/object") == data
    assert s3fs.S3FileSystem().info("scores/large/scores/object")["ETag"].strip('"').partition("-")[2]


@pytest.mark.usefixtures("as_scorer")
def test_scoring_account_cannot_write_to_its_source() -> None:
    with pytest.raises(PermissionError):
        s3fs.S3FileSystem().pipe_file("films/intruder.png", b"x")


def test_forbidden_listing_is_a_usage_error_without_the_secret_key(
    objects: ObjectStore, scorer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = objects.account("stranger")
    for name, value in stranger.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UsageError) as caught:
        list(list_sources(["s3://films/odd0"]))
    assert stranger["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("as_owner")
def test_changed_and_deleted_objects_have_different_reasons() -> None:
    store = s3fs.S3FileSystem()
    store.pipe_file("films/changing/film.png", film_png(7))
    (ref,) = list_sources(["s3://films/changing"])
    store.pipe_file("films/changing/film.png", film_png(8))
    with pytest.raises(FilmError) as caught:
        fetch(ref, Settings())
    assert caught.value.reason is Reason.CHANGED
    store.rm("films/changing/film.png")
    with pytest.raises(FilmError) as caught:
        fetch(ref, Settings())
    assert caught.value.reason is Reason.NOT_FOUND

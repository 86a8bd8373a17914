"""A real S3 server: long listings, odd keys, uploads in parts, a source that may only be read, objects that change."""

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

ODD = ("a b.png", "Thorax gro\u00df \u00e9.png", "\u80f8\u90e8.png", "plus+and%25.png", "it's [1] #2?.png")


@pytest.mark.usefixtures("as_owner")
def test_a_prefix_of_more_keys_than_one_answer_holds_is_listed_whole() -> None:
    store = s3fs.S3FileSystem()
    store.pipe({f"films/long/{number:04d}.png": b"%d" % number for number in range(1100)})
    refs = list(list_sources(["s3://films/long"]))
    assert [ref.uri for ref in refs] == [f"s3://films/long/{number:04d}.png" for number in range(1100)]


@pytest.mark.usefixtures("as_owner")
@pytest.mark.parametrize("key", ODD)
def test_keys_with_spaces_signs_and_other_letters_are_read_as_listed(key: str) -> None:
    folder = f"odd{ODD.index(key)}"
    s3fs.S3FileSystem().pipe_file(f"films/{folder}/{key}", film_png(3))
    (ref,) = list_sources([f"s3://films/{folder}"])
    assert ref.uri == f"s3://films/{folder}/{key}"
    assert fetch(ref, Settings()) == film_png(3)


@pytest.mark.usefixtures("as_owner")
def test_a_source_that_was_uploaded_in_parts_is_read_as_listed() -> None:
    data = film_png(1) + bytes(11 << 20)
    with s3fs.S3FileSystem().open("films/parts/film.png", "wb", block_size=5 << 20) as file:
        for start in range(0, len(data), 1 << 20):
            file.write(data[start : start + (1 << 20)])
    (ref,) = list_sources(["s3://films/parts"])
    assert ref.version.endswith("-3"), "three parts: their digest is told by its ending"
    assert fetch(ref, Settings()) == data


@pytest.mark.usefixtures("as_scorer")
def test_a_result_too_large_for_one_request_is_put_in_parts_and_is_there_whole() -> None:
    data = bytes(101 << 20) + b"end"
    store = ResultsRoot.at("s3://scores/large")
    store.put("scores/object", data)
    assert store.get("scores/object") == data
    assert s3fs.S3FileSystem().info("scores/large/scores/object")["ETag"].strip('"').partition("-")[2]


@pytest.mark.usefixtures("as_scorer")
def test_the_account_that_scores_cannot_write_to_its_source() -> None:
    with pytest.raises(PermissionError):
        s3fs.S3FileSystem().pipe_file("films/intruder.png", b"x")


def test_a_source_that_may_not_be_listed_is_a_usage_error_without_the_key(
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
def test_objects_that_change_or_vanish_after_the_listing_are_told_apart() -> None:
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

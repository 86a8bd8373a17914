"""Listing the objects that sources name: files, folders, globs and archives."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path

import fsspec
import pytest

from cxrlib.archive.filesystems import CONTENT_VERSION, same_version, version_tokens
from cxrlib.archive.listing import list_sources
from cxrlib.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for name in ("b.dcm", "a.dcm", "deep/er/c.dcm", "deep/.hidden.dcm", ".cache/d.dcm", "empty.dcm"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty.dcm" else name.encode())
    return root


def names(sources: list[str], root: Path | str) -> list[str]:
    return [ref.uri.split(f"{root}/")[-1] for ref in list_sources(sources)]


def test_folder_is_listed_recursively_without_hidden_names(tree: Path) -> None:
    assert sorted(names([str(tree)], tree)) == ["a.dcm", "b.dcm", "deep/er/c.dcm", "empty.dcm"]


def test_a_folder_is_listed_in_the_same_order_each_time(tree: Path) -> None:
    assert list(list_sources([str(tree)])) == list(list_sources([str(tree)]))


def test_hidden_file_is_listed_if_named(tree: Path) -> None:
    assert names([f"{tree}/deep/.hidden.dcm"], tree) == ["deep/.hidden.dcm"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.dcm", ["a.dcm", "b.dcm", "empty.dcm"]), ("**/c.dcm", ["deep/er/c.dcm"]), ("[ab].dcm", ["a.dcm", "b.dcm"])],
)
def test_glob_lists_matching_files(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names([f"{tree}/{pattern}"], tree) == expected


def test_a_file_whose_name_looks_like_a_glob_is_listed_as_itself(tmp_path: Path) -> None:
    (tmp_path / "film[1].dcm").write_bytes(b"x")
    (tmp_path / "film1.dcm").write_bytes(b"x")
    assert names([f"{tmp_path}/film[1].dcm"], tmp_path) == ["film[1].dcm"]


def test_a_relative_path_gives_an_absolute_uri(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (ref,) = list_sources(["a.dcm"])
    assert ref.uri == f"file://{tree}/a.dcm"
    assert ref.size == 5
    assert ref.version.startswith("mtime:")


def test_a_rewritten_object_has_a_new_version() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/listing/film.dcm", b"one")
    (first,) = list_sources(["memory://listing/film.dcm"])
    memory.pipe_file("/listing/film.dcm", b"two")
    (second,) = list_sources(["memory://listing"])
    assert first.uri == second.uri
    assert first.version != second.version


def test_archive_members_are_listed_by_uris_that_open_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/a.dcm", b"film")
        archive.writestr("b.dcm", b"other film")
        archive.writestr("e/", b"")
    chain = f"{tmp_path}/a.zip"
    refs = list(list_sources([f"zip://::{chain}"]))
    assert sorted(ref.uri for ref in refs) == [f"zip://b.dcm::{chain}", f"zip://d/a.dcm::{chain}"]
    assert all(ref.version.startswith("crc32:") for ref in refs)
    with fsspec.open(refs[0].uri) as file:
        assert len(file.read()) == refs[0].size
    assert [ref.uri for ref in list_sources([f"zip://d/*.dcm::{chain}"])] == [f"zip://d/a.dcm::{chain}"]


@pytest.mark.parametrize("source", ["nothing", "nothing/*.dcm", "s4://bucket/key", "zip://*.dcm::nothing.zip"])
def test_source_that_lists_nothing_is_a_usage_error_that_names_it(tmp_path: Path, source: str) -> None:
    full = source if "://" in source else f"{tmp_path}/{source}"
    with pytest.raises(UsageError, match=r"tried as|could be opened") as caught:
        list(list_sources([full]))
    assert full in str(caught.value)


def test_no_source_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least one source"):
        list(list_sources([]))


def test_name_that_is_not_unicode_is_a_usage_error(tmp_path: Path) -> None:
    name = tmp_path / "caf\udce9.dcm"
    try:
        name.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system does not accept such names")
    with pytest.raises(UsageError, match="not valid Unicode"):
        list(list_sources([str(tmp_path)]))


def test_a_content_md5_is_preferred_and_an_entity_tag_is_unquoted() -> None:
    md5 = {"md5Hash": "XUFAKrxLKna5cZ2REBfFkg==", "etag": "CJ=", "size": 5}
    assert version_tokens(md5)[0] == "etag:5d41402abc4b2a76b9719d911017c592"
    assert version_tokens({"ETag": '"abc"', "size": 5})[0] == "etag:abc"
    assert version_tokens({"size": 5}) == ("size:5",)


@pytest.mark.parametrize(
    ("token", "is_content"),
    [
        ("etag:5d41402abc4b2a76b9719d911017c592", True),
        ("etag:5d41402abc4b2a76b9719d911017c592-12", True),
        ("etag:0x8DC0A1B2C3D4E5F", False),
        ("etag:CKih16GjycICEAE=", False),
        ('etag:W/"5d41402a-5"', False),
        ("mtime:1795252738.204806", False),
    ],
)
def test_only_content_digests_count_as_content_versions(token: str, is_content: bool) -> None:
    assert bool(re.match(CONTENT_VERSION, token)) is is_content


def test_all_forms_of_a_time_give_the_same_token() -> None:
    moment = dt.datetime(2026, 8, 1, 12, 30, 15, 250000, tzinfo=dt.UTC)
    forms = [moment, moment.timestamp(), moment.isoformat(), moment.replace(tzinfo=None)]
    assert {version_tokens({"mtime": form, "size": 1})[0] for form in forms} == {"mtime:1785587415.250000"}


def test_versions_are_compared_only_within_their_kind() -> None:
    info = {"ETag": "new", "mtime": 5.0, "size": 3}
    assert same_version("etag:new", info)
    assert not same_version("etag:old", info)
    assert not same_version("mtime:4.000000", info)
    assert same_version("crc32:0000", info)

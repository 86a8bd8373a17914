"""Fetching one listed object: limits, retries and change detection."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cxr_schemas import Reason
from cxrlib.archive.fetch import fetch
from cxrlib.archive.listing import list_sources
from cxrlib.errors import FilmError
from cxrlib.settings import ReadSettings, RunSettings, Settings
from cxrlib.types import ImageRef

SETTINGS = Settings(read=ReadSettings(max_bytes=1000), run=RunSettings(fetch_attempts=3))


def listed(source: Path | str) -> ImageRef:
    (ref,) = list_sources([str(source)])
    return ref


def reason_of(ref: ImageRef) -> Reason:
    with pytest.raises(FilmError) as caught:
        fetch(ref, SETTINGS, sleep=lambda seconds: None)
    return caught.value.reason


class FlakyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A memory file system whose first reads fail."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it
    failures = 0
    error: Exception = OSError("throttled")
    reads = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("flaky://", "memory://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        type(self).reads += 1
        if type(self).failures > 0:
            type(self).failures -= 1
            raise type(self).error
        return bytes(super().cat_file(path, start=start, end=end, **kwargs))


@pytest.fixture
def flaky() -> Iterator[type[FlakyFileSystem]]:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.store.clear()
    FlakyFileSystem.failures = FlakyFileSystem.reads = 0
    FlakyFileSystem.error = OSError("throttled")
    fsspec.filesystem("flaky").pipe_file("/film", b"pixels")
    yield FlakyFileSystem


def test_bytes_of_a_listed_file_are_returned(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"pixels")
    assert fetch(listed(tmp_path / "film"), SETTINGS) == b"pixels"


def test_an_empty_object_is_fetched_as_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"")
    assert fetch(listed(tmp_path / "film"), SETTINGS) == b""


def test_archive_members_are_fetched_by_many_threads(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"d/{number}.dcm", bytes([number]) * 900)
    refs = list(list_sources([f"zip://::{tmp_path}/a.zip"]))
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda ref: fetch(ref, SETTINGS), refs))
    assert len(refs) == 40
    assert all(
        data == bytes([int(ref.uri.split("/")[3].split(".")[0])]) * 900
        for ref, data in zip(refs, contents, strict=True)
    )


def test_too_large_object_is_rejected_before_reading(flaky: type[FlakyFileSystem]) -> None:
    fsspec.filesystem("flaky").pipe_file("/film", b"x" * 1001)
    assert reason_of(listed("flaky://film")) is Reason.TOO_LARGE
    assert reason_of(ImageRef("flaky://film", "size:unknown", None)) is Reason.TOO_LARGE
    assert flaky.reads == 0


def test_missing_object_is_rejected_without_retries(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"pixels")
    ref = listed(tmp_path / "film")
    (tmp_path / "film").unlink()
    assert reason_of(ref) is Reason.NOT_FOUND


def test_denied_access_is_retryable_and_not_retried_at_once(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures, flaky.error = 1, PermissionError("403")
    assert reason_of(listed("flaky://film")) is Reason.DENIED
    assert Reason.DENIED.retryable
    assert flaky.reads == 1


def test_failures_are_retried_with_growing_bounded_pauses(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures = 2
    pauses: list[float] = []
    assert fetch(listed("flaky://film"), SETTINGS, sleep=pauses.append) == b"pixels"
    assert len(pauses) == 2
    assert all(0 <= pause <= bound for pause, bound in zip(pauses, (0.5, 1.0), strict=True))


def test_persistent_failure_is_a_retryable_reject_without_the_error_text(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures, flaky.error = 99, ConnectionError("name of the patient")
    with pytest.raises(FilmError) as caught:
        fetch(listed("flaky://film"), SETTINGS, sleep=lambda seconds: None)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert caught.value.retryable
    assert "ConnectionError at attempt 3" in str(caught.value)
    assert "patient" not in str(caught.value)


@pytest.mark.parametrize("content", [b"PIXELS", b"more pixels", b"px"])
def test_object_that_changed_since_listing_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"pixels")
    ref = listed(path)
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert reason_of(ref) is Reason.CHANGED


def test_object_that_changes_during_the_read_is_rejected(
    flaky: type[FlakyFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = listed("flaky://film")
    read = FlakyFileSystem.cat_file

    def read_then_change(self: FlakyFileSystem, path: str, **kwargs: Any) -> bytes:
        data = read(self, path, **kwargs)
        self.pipe_file(path, b"pixelz")
        return data

    monkeypatch.setattr(FlakyFileSystem, "cat_file", read_then_change)
    assert reason_of(ref) is Reason.CHANGED


def test_short_read_of_an_unchanged_object_is_retried(
    flaky: type[FlakyFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = listed("flaky://film")
    read = FlakyFileSystem.cat_file
    answers = iter([b"pix"])
    monkeypatch.setattr(
        FlakyFileSystem, "cat_file", lambda self, path, **kwargs: next(answers, None) or read(self, path, **kwargs)
    )
    assert fetch(ref, SETTINGS, sleep=lambda seconds: None) == b"pixels"


def test_version_of_a_kind_the_store_lacks_counts_as_unchanged(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"pixels")
    uri = listed(tmp_path / "film").uri
    assert fetch(ImageRef(uri, "etag:from-an-inventory", 6), SETTINGS) == b"pixels"


def test_unknown_scheme_is_a_reject() -> None:
    assert reason_of(ImageRef("nowhere://film", "size:6", 6)) is Reason.FETCH_FAILED


def test_concurrent_fetches_return_their_own_bytes(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").write_bytes(bytes([number]) * 50)
    refs = sorted(list_sources([str(tmp_path)]))
    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(lambda ref: fetch(ref, SETTINGS), refs))
    assert contents == [bytes([number]) * 50 for number in range(30)]

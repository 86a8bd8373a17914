"""Fetching one listed object."""

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
    """A memory file system that fails a number of times before it gives an object."""

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


def test_a_member_of_an_archive_is_fetched_by_many_threads_at_once(tmp_path: Path) -> None:
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


def test_a_large_object_is_refused_before_a_byte_is_read(flaky: type[FlakyFileSystem]) -> None:
    fsspec.filesystem("flaky").pipe_file("/film", b"x" * 1001)
    assert reason_of(listed("flaky://film")) is Reason.TOO_LARGE
    assert reason_of(ImageRef("flaky://film", "size:unknown", None)) is Reason.TOO_LARGE
    assert flaky.reads == 0


def test_a_missing_object_is_not_found_at_the_first_try(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"pixels")
    ref = listed(tmp_path / "film")
    (tmp_path / "film").unlink()
    assert reason_of(ref) is Reason.NOT_FOUND


def test_a_refusal_is_denied_and_may_heal(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures, flaky.error = 1, PermissionError("403")
    assert reason_of(listed("flaky://film")) is Reason.DENIED
    assert Reason.DENIED.retryable
    assert flaky.reads == 1


def test_failures_are_tried_again_with_growing_bounded_pauses(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures = 2
    pauses: list[float] = []
    assert fetch(listed("flaky://film"), SETTINGS, sleep=pauses.append) == b"pixels"
    assert len(pauses) == 2
    assert all(0 <= pause <= bound for pause, bound in zip(pauses, (0.5, 1.0), strict=True))


def test_a_failure_that_lasts_is_a_retryable_reject_that_quotes_no_message(flaky: type[FlakyFileSystem]) -> None:
    flaky.failures, flaky.error = 99, ConnectionError("name of the patient")
    with pytest.raises(FilmError) as caught:
        fetch(listed("flaky://film"), SETTINGS, sleep=lambda seconds: None)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert caught.value.retryable
    assert "ConnectionError at try 3" in str(caught.value)
    assert "patient" not in str(caught.value)


@pytest.mark.parametrize("content", [b"PIXELS", b"more pixels", b"px"])
def test_an_object_that_changed_since_it_was_listed_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"pixels")
    ref = listed(path)
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert reason_of(ref) is Reason.CHANGED


def test_an_object_that_changes_while_it_is_read_is_rejected(
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


def test_a_short_read_of_an_unchanged_object_is_tried_again(
    flaky: type[FlakyFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = listed("flaky://film")
    read = FlakyFileSystem.cat_file
    answers = iter([b"pix"])
    monkeypatch.setattr(
        FlakyFileSystem, "cat_file", lambda self, path, **kwargs: next(answers, None) or read(self, path, **kwargs)
    )
    assert fetch(ref, SETTINGS, sleep=lambda seconds: None) == b"pixels"


def test_a_version_the_store_does_not_give_is_not_held_against_an_object(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"pixels")
    uri = listed(tmp_path / "film").uri
    assert fetch(ImageRef(uri, "etag:from-an-inventory", 6), SETTINGS) == b"pixels"


def test_an_unknown_scheme_is_a_reject_and_no_crash() -> None:
    assert reason_of(ImageRef("nowhere://film", "size:6", 6)) is Reason.FETCH_FAILED


def test_fetches_from_several_threads_do_not_disturb_one_another(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").write_bytes(bytes([number]) * 50)
    refs = sorted(list_sources([str(tmp_path)]))
    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(lambda ref: fetch(ref, SETTINGS), refs))
    assert contents == [bytes([number]) * 50 for number in range(30)]

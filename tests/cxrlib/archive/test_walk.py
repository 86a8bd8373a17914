"""Walking a store's folders: several at a time, in one order, none left out without a word."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem

from cxrlib.archive.listing import list_sources
from cxrlib.archive.walk import walk
from cxrlib.errors import UsageError


class _Slow(AbstractFileSystem):
    """A store of folders 0 to 9, each of folders 0 to 4 with two files, that takes its time and keeps a cache."""

    protocol = "slow"
    cachable = False

    def __init__(self, fails: str | None = None) -> None:
        super().__init__()
        self.now = self.most = 0
        self.kept: set[str] = set()
        self._fails = fails
        self._lock = threading.Lock()

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.kept.add(path)
        time.sleep(0.002 * (hash(path) % 3))
        with self._lock:
            self.now -= 1
        if path == self._fails:
            raise PermissionError(path)
        depth = path.count("/")
        if depth == 2:
            return [{"name": f"{path}/{name}", "type": "file", "size": 1} for name in ("b", "a", ".hidden")]
        names = range(10) if depth == 0 else range(5)
        marker = {"name": f"{path}/", "type": "file", "size": 0}
        return [marker, *({"name": f"{path}/{name}", "type": "directory"} for name in reversed(names))]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.kept.discard(str(path))


def files(store: _Slow, ahead: int) -> list[str]:
    return [entry["name"] for folder in walk(store, "root", ahead=ahead) for entry in folder.files]


def test_folders_are_asked_for_together_and_come_in_order() -> None:
    store = _Slow()
    expected = [f"root/{year}/{month}/{name}" for year in range(10) for month in range(5) for name in "ab"]
    assert files(store, ahead=8) == expected
    assert 1 < store.most <= 8
    assert not store.kept, "what was listed is not kept"


def test_a_store_for_one_reader_is_asked_for_one_folder_at_a_time() -> None:
    store = _Slow()
    assert files(store, ahead=1) == files(_Slow(), ahead=8)
    assert store.most == 1


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_left_out() -> None:
    with pytest.raises(PermissionError):
        files(_Slow(fails="root/7/3"), ahead=4)


def test_a_walk_that_is_not_finished_asks_for_no_more() -> None:
    store = _Slow()
    walking = walk(store, "root", ahead=2)
    next(walking)
    walking.close()
    assert store.now == 0


def test_a_root_that_is_not_there_is_empty() -> None:
    (folder,) = walk(fsspec.filesystem("memory"), "/no/such/place")
    assert folder.files == folder.folders == ()


def test_a_source_with_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"x")
    (tmp_path / "a.dcm").write_bytes(b"x")
    local = fsspec.filesystem("file")
    listed = local.ls

    def ls(path: str, **options: Any) -> Any:
        if path.endswith("/in"):
            raise PermissionError(path)
        return listed(path, **options)

    monkeypatch.setattr(type(local), "ls", lambda _self, path, **options: ls(path, **options))
    with pytest.raises(UsageError, match="cannot be listed"):
        list(list_sources([str(tmp_path)]))

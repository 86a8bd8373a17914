"""Walking the folders of a store: concurrent, in a fixed order, and without silent omissions."""

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
    """A slow store with a cache: folders 0 to 9, each with folders 0 to 4 of two files."""

    protocol = "slow"
    cachable = False

    def __init__(self, fails: str | None = None) -> None:
        super().__init__()
        self.active = self.most_active = 0
        self.cached: set[str] = set()
        self._fails = fails
        self._lock = threading.Lock()

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        with self._lock:
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            self.cached.add(path)
        time.sleep(0.002 * (hash(path) % 3))
        with self._lock:
            self.active -= 1
        if path == self._fails:
            raise PermissionError(path)
        depth = path.count("/")
        if depth == 2:
            return [{"name": f"{path}/{name}", "type": "file", "size": 1} for name in ("b", "a", ".hidden")]
        names = range(10) if depth == 0 else range(5)
        marker = {"name": f"{path}/", "type": "file", "size": 0}
        return [marker, *({"name": f"{path}/{name}", "type": "directory"} for name in reversed(names))]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.cached.discard(str(path))


def files(store: _Slow, concurrency: int) -> list[str]:
    return [entry["name"] for folder in walk(store, "root", concurrency=concurrency) for entry in folder.files]


def test_folders_are_listed_concurrently_and_yielded_in_order() -> None:
    store = _Slow()
    expected = [f"root/{year}/{month}/{name}" for year in range(10) for month in range(5) for name in "ab"]
    assert files(store, concurrency=8) == expected
    assert 1 < store.most_active <= 8
    assert not store.cached, "listings must not stay cached"


def test_concurrency_one_lists_one_folder_at_a_time() -> None:
    store = _Slow()
    assert files(store, concurrency=1) == files(_Slow(), concurrency=8)
    assert store.most_active == 1


def test_folder_that_cannot_be_listed_raises() -> None:
    with pytest.raises(PermissionError):
        files(_Slow(fails="root/7/3"), concurrency=4)


def test_closed_walk_sends_no_more_requests() -> None:
    store = _Slow()
    walking = walk(store, "root", concurrency=2)
    next(walking)
    walking.close()
    assert store.active == 0


def test_missing_root_is_empty() -> None:
    (folder,) = walk(fsspec.filesystem("memory"), "/no/such/place")
    assert folder.files == folder.folders == ()


def test_source_with_an_unlistable_folder_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

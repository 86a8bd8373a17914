"""A results root: where each object of it lies, and how one is put there in a single step."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cxrlib.errors import RunError, UsageError

#: Stores on which one PUT is one atomic step; on anything else a temporary name is renamed.
_SINGLE_PUT: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
#: Stores whose own PUT can be told to fail where the object is there already (If-None-Match, ifGenerationMatch).
_CONDITIONAL_PUT: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_memory_lock = threading.Lock()
_SUFFIX: Final = ".parquet"
#: Folder in which a copy of a root is made, and the object that stands in it until the copy is whole.
STAGE: Final = "_compact"
_UNFINISHED: Final = f"{STAGE}/unfinished.json"
_PREFIX: Final = "part-"
#: How a name begins, in place of a chunk's id, where the object holds rows of many chunks.
COMPACT: Final = "compact-"


class Kind(StrEnum):
    """The two objects of a chunk, by the folder each lies in."""

    SCORES = "scores"
    REJECTS = "rejects"


@dataclass(frozen=True, slots=True)
class Store:
    """A results root on any fsspec URL. Holds no connection, so that it travels to workers.

    Attributes
    ----------
    root : str
        Without a trailing slash.
    """

    root: str

    @classmethod
    def at(cls, uri: str) -> Store:
        """Return the store at `uri`, a local path made absolute.

        Raises
        ------
        UsageError
            No file system is known for the scheme, or `uri` is inside an archive.
        """
        if "::" in uri:
            raise UsageError(f"results cannot be written into a chain such as {uri}; expected a folder or a bucket")
        try:
            filesystem, path = url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise UsageError(f"no file system is known for the results root {uri}: {error}") from error
        return cls(str(filesystem.unstrip_protocol(path)).rstrip("/"))

    def uri(self, key: str) -> str:
        """Return the URI of the object `key`."""
        return f"{self.root}/{key}"

    @staticmethod
    def chunk_key(kind: Kind, partition: str, chunk_id: str) -> str:
        """Return the key of a chunk's scores or rejects; `partition` is ``<bundle name>-<digest8>``."""
        return f"{kind}/bundle={partition}/{_PREFIX}{chunk_id}{_SUFFIX}"

    @staticmethod
    def plan_key(run_id: str) -> str:
        """Return the key of a run's plan."""
        return f"_runs/{run_id}/plan.parquet"

    @staticmethod
    def manifest_key(run_id: str) -> str:
        """Return the key of a run's manifest."""
        return f"_runs/{run_id}/manifest.json"

    @staticmethod
    def overlay_key(partition: str, content_digest: str) -> str:
        """Return the key of the overlay of the film with that content digest, as its row has it."""
        return f"overlays/bundle={partition}/{content_digest}.png"

    def put(self, key: str, data: bytes) -> None:
        """Put an object in one step: whoever reads it meets all of it or none of it."""
        filesystem, path = self._open(key)
        if isinstance(filesystem, LocalFileSystem):
            _put_file(Path(path), data)
        elif _SINGLE_PUT & set(_protocols(filesystem)):
            filesystem.pipe_file(path, data)
        else:
            folder, _, name = path.rpartition("/")
            temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"
            filesystem.makedirs(folder, exist_ok=True)
            filesystem.pipe_file(temporary, data)
            filesystem.mv(temporary, path)

    def get(self, key: str) -> bytes | None:
        """Return an object, or None where there is none."""
        filesystem, path = self._open(key)
        try:
            return bytes(filesystem.cat_file(path))
        except FileNotFoundError:
            return None

    def create(self, key: str, data: bytes) -> bool:
        """Put an object where there is none, in one step; False where another is there already.

        `data` must differ from what anybody else would put there: where an answer is lost on its way and the put is
        repeated, that is how it is known for our own. Only right where `can_create` says so.
        """
        filesystem, path = self._open(key)
        try:
            if isinstance(filesystem, LocalFileSystem):
                _create_file(Path(path), data)
            elif "memory" in _protocols(filesystem):
                with _memory_lock:
                    filesystem.pipe_file(path, data, mode="create")
            else:
                filesystem.pipe_file(path, data, mode="create")
        except OSError:  # FileExistsError, or what a store says in its stead
            got = self.get(key)
            if got is None:
                raise
            return got == data
        return True

    def can_create(self) -> bool:
        """Whether `create` is one atomic step on this store. A bucket is asked by two puts of one object.

        Servers that speak S3 but do not know If-None-Match take the second put as they took the first.
        """
        filesystem, _ = self._open("")
        if isinstance(filesystem, LocalFileSystem) or "memory" in _protocols(filesystem):
            return True
        if not _CONDITIONAL_PUT & set(_protocols(filesystem)):
            return False
        key = f"_leases/.probe-{secrets.token_hex(8)}"
        try:
            return self.create(key, b"1") and not self.create(key, b"2")
        finally:
            self.delete(key)

    def delete(self, key: str) -> None:
        """Remove an object, where there is one."""
        filesystem, path = self._open(key)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(path)

    def settle(self, partition: str, chunk_id: str, *, scores: bytes, rejects: bytes) -> None:
        """Put a chunk's two objects: rejects first, so that scores that are there say that the chunk is whole."""
        self.put(self.chunk_key(Kind.REJECTS, partition, chunk_id), rejects)
        self.put(self.chunk_key(Kind.SCORES, partition, chunk_id), scores)

    def is_settled(self, partition: str, chunk_id: str) -> bool:
        """Whether a chunk is settled: its scores object is there."""
        filesystem, path = self._open(self.chunk_key(Kind.SCORES, partition, chunk_id))
        filesystem.invalidate_cache(path.rpartition("/")[0])
        return bool(filesystem.exists(path))

    def chunks(self, kind: Kind, partition: str) -> frozenset[str]:
        """Return the ids of the chunks of which the object of `kind` is there."""
        names = self.names(f"{kind}/bundle={partition}")
        return frozenset(
            name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            for name in names
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
        )

    def begin_copy(self, note: bytes) -> bool:
        """Say that this root is a copy in the making; False where somebody else said so first."""
        return self.create(_UNFINISHED, note)

    def publish(self, folders: Sequence[str]) -> None:
        """Bring what was staged below `STAGE` to its place, folder by folder, then say no more that it is unfinished.

        On a local disk each folder comes in one step; elsewhere object by object, each of them in one step.
        """
        filesystem, stage = self._open(STAGE)
        for folder in folders:
            if isinstance(filesystem, LocalFileSystem):
                if Path(stage, folder).exists():
                    Path(stage, folder).rename(Path(stage).parent / folder)
                continue
            for key in self.keys(f"{STAGE}/{folder}"):
                filesystem.mv(self._open(key)[1], self._open(key.removeprefix(f"{STAGE}/"))[1])
        self.delete(_UNFINISHED)
        if isinstance(filesystem, LocalFileSystem):
            Path(stage).rmdir()

    def require_whole(self) -> None:
        """Raise `RunError` where this root is a copy that was not made to its end."""
        if self.get(_UNFINISHED) is not None:
            raise RunError(
                f"{self.root} is an unfinished copy of another results root: expected `cxr compact` to have come to "
                f"its end; got {_UNFINISHED}. Remove this root and make the copy anew"
            )

    def keys(self, folder: str) -> list[str]:
        """Return the keys of all objects below `folder` as they are now, sorted, without hidden ones."""
        filesystem, path = self._open(folder)
        filesystem.invalidate_cache()
        root = self._open("")[1].rstrip("/")
        try:
            found = [str(name)[len(root) + 1 :] for name in filesystem.find(path)]
        except FileNotFoundError:
            return []
        return sorted(key for key in found if not key.rpartition("/")[2].startswith(".") and not key.endswith("/"))

    def partitions(self) -> tuple[str, ...]:
        """Return the bundles that have scores or rejects here, each as ``<name>-<digest8>``, sorted."""
        names = {name for kind in Kind for name in self.names(kind.value)}
        return tuple(sorted(name.removeprefix("bundle=") for name in names if name.startswith("bundle=")))

    def runs(self) -> tuple[str, ...]:
        """Return the ids of all runs into this root, sorted."""
        return tuple(sorted(name for name in self.names("_runs") if not name.startswith(".")))

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects and folders in `folder` as they are now; none where it is not there."""
        filesystem, path = self._open(folder)
        filesystem.invalidate_cache(path)
        try:
            return [name.rstrip("/").rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)]
        except FileNotFoundError:
            return []

    def _open(self, key: str) -> tuple[Any, str]:
        try:
            filesystem, path = url_to_fs(self.uri(key))
        except (ValueError, ImportError) as error:
            raise RunError(f"the results root {self.root} cannot be opened: {error}") from error
        return filesystem, str(path)


def _protocols(filesystem: AbstractFileSystem) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _create_file(path: Path, data: bytes) -> None:
    """Write under a hidden name, then link it to its own, which fails where that is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links; a reader may then meet the object while it is still empty
            with path.open("xb") as file:
                file.write(data)
    finally:
        temporary.unlink(missing_ok=True)


def _put_file(path: Path, data: bytes) -> None:
    """Write under a hidden name, flush to the disk, rename. Readers of the folder pass hidden names over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

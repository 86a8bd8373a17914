"""Get and put the objects of a results root, on any fsspec file system. `cxrlib.results.layout` holds the keys."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from cxrlib.archive.filesystems import open_filesystem
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind

#: Objects of a results root that are read from a bucket at the same time.
CONCURRENT_READS: Final = 8
#: Stores on which one PUT is one atomic step. On any other, the object is put under a temporary name and renamed.
_SINGLE_PUT: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
#: Stores whose PUT can be made to fail where the object exists (If-None-Match, ifGenerationMatch).
_CONDITIONAL_PUT: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
#: How the URI of a folder on this machine starts.
_LOCAL: Final = "file://"
_memory_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ResultsRoot:
    """A results root on any fsspec URL. It holds no connection, so it can be sent to workers.

    Attributes
    ----------
    root : str
        Its URI, without a trailing slash.
    """

    root: str

    @classmethod
    def at(cls, uri: str) -> ResultsRoot:
        """Return the results root at `uri`; a local path is made absolute.

        Raises
        ------
        UsageError
            No file system is known for the scheme, or `uri` is a chain of file systems (a folder in a ZIP file).
        """
        if "::" in uri:
            raise UsageError(f"results cannot be written into a chain such as {uri}; expected a folder or a bucket")
        try:
            filesystem, path = open_filesystem(uri)
        except (ValueError, ImportError) as error:
            raise UsageError(f"no file system is known for the results root {uri}: {error}") from error
        return cls(str(filesystem.unstrip_protocol(path)).rstrip("/"))

    def uri(self, key: str) -> str:
        """Return the URI of the object `key`."""
        return f"{self.root}/{key}"

    def local_path(self, key: str) -> str | None:
        """Return the path of the object `key` on this machine's disk; None where the root is elsewhere."""
        return f"{self.root.removeprefix(_LOCAL)}/{key}" if self.root.startswith(_LOCAL) else None

    def put(self, key: str, data: bytes) -> None:
        """Put an object in one atomic step: a reader gets all of it or none of it."""
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
        """Return the bytes of an object, or None where there is none."""
        filesystem, path = self._open(key)
        try:
            return bytes(filesystem.cat_file(path))
        except FileNotFoundError:
            return None

    def create(self, key: str, data: bytes) -> bool:
        """Put an object in one atomic step if there is none yet; return False where another object exists.

        Use it only where `can_create` is true. Put a unique token in `data`: if the answer of a put is lost and the put
        is retried, the token shows that the stored object is our own.
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
        except OSError:  # FileExistsError, or the store's own error for it
            got = self.get(key)
            if got is None:
                raise
            return got == data
        return True

    def can_create(self) -> bool:
        """Return whether `create` is one atomic step on this store. In a bucket, two puts of one object test it.

        The test is needed because some S3-compatible servers ignore If-None-Match and accept the second put too.
        """
        filesystem, _ = self._open("")
        if isinstance(filesystem, LocalFileSystem) or "memory" in _protocols(filesystem):
            return True
        if not _CONDITIONAL_PUT & set(_protocols(filesystem)):
            return False
        key = layout.probe_key(secrets.token_hex(8))
        try:
            return self.create(key, b"1") and not self.create(key, b"2")
        finally:
            self.delete(key)

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        filesystem, path = self._open(key)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(path)

    def settle(self, partition: str, chunk_id: str, *, scores: bytes, rejects: bytes) -> None:
        """Put a chunk's two objects, rejects first: so a scores object shows that the chunk is complete."""
        self.put(layout.chunk_key(RowKind.REJECTS, partition, chunk_id), rejects)
        self.put(layout.chunk_key(RowKind.SCORES, partition, chunk_id), scores)

    def is_settled(self, partition: str, chunk_id: str) -> bool:
        """Return whether a chunk is settled: its scores object exists."""
        filesystem, path = self._open(layout.chunk_key(RowKind.SCORES, partition, chunk_id))
        filesystem.invalidate_cache(path.rpartition("/")[0])
        return bool(filesystem.exists(path))

    def chunks(self, kind: RowKind, partition: str) -> frozenset[str]:
        """Return the ids of the chunks whose object of `kind` exists."""
        names = self.names(layout.partition_folder(kind, partition))
        return frozenset(chunk_id for name in names if (chunk_id := layout.chunk_of_object(name)) is not None)

    def begin_copy(self, note: bytes) -> bool:
        """Mark this root as an incomplete copy; return False where another process has marked it already."""
        return self.create(layout.UNFINISHED_COPY, note)

    def publish(self, folders: Sequence[str]) -> None:
        """Move the staged `folders` to their places, in order, then remove the mark of an incomplete copy.

        On a local disk a folder is moved in one atomic step; elsewhere object by object, each in one atomic step.
        """
        filesystem, stage = self._open(layout.STAGE)
        for folder in folders:
            if isinstance(filesystem, LocalFileSystem):
                if Path(stage, folder).exists():
                    Path(stage, folder).rename(Path(stage).parent / folder)
                continue
            for key in self.keys(layout.staged_key(folder)):
                filesystem.mv(self._open(key)[1], self._open(layout.unstaged_key(key))[1])
        self.delete(layout.UNFINISHED_COPY)
        if isinstance(filesystem, LocalFileSystem):
            Path(stage).rmdir()

    def require_complete(self) -> None:
        """Raise `RunError` where this root is an incomplete copy (`cxrlib.results.compact`)."""
        if self.get(layout.UNFINISHED_COPY) is not None:
            raise RunError(
                f"{self.root} is an incomplete copy of another results root: expected a finished `cxr compact`; got "
                f"{layout.UNFINISHED_COPY}. Remove this root and run `cxr compact` again"
            )

    def keys(self, folder: str) -> list[str]:
        """Return the keys of all objects below `folder`, sorted, without hidden ones. No cached listing is used."""
        filesystem, path = self._open(folder)
        filesystem.invalidate_cache()
        root = self._open("")[1].rstrip("/")
        try:
            found = [str(name)[len(root) + 1 :] for name in filesystem.find(path)]
        except FileNotFoundError:
            return []
        return sorted(key for key in found if not key.rpartition("/")[2].startswith(".") and not key.endswith("/"))

    def partitions(self) -> tuple[str, ...]:
        """Return the partitions (``<bundle name>-<digest8>``) that have scores or rejects, sorted."""
        names = {name for kind in RowKind for name in self.names(kind.value)}
        return tuple(sorted(of for name in names if (of := layout.partition_of_folder(name)) is not None))

    def runs(self) -> tuple[str, ...]:
        """Return the ids of all runs that write into this root, sorted."""
        return tuple(sorted(name for name in self.names(layout.RUNS) if not name.startswith(".")))

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects and folders in `folder`; empty where there is no such folder."""
        filesystem, path = self._open(folder)
        filesystem.invalidate_cache(path)
        try:
            return [name.rstrip("/").rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)]
        except FileNotFoundError:
            return []

    def _open(self, key: str) -> tuple[Any, str]:
        try:
            filesystem, path = open_filesystem(self.uri(key))
        except (ValueError, ImportError) as error:
            raise RunError(f"the results root {self.root} cannot be opened: {error}") from error
        return filesystem, str(path)


def _protocols(filesystem: AbstractFileSystem) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _create_file(path: Path, data: bytes) -> None:
    """Write under a hidden name, then link it to its real name, which fails where that exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links; here a reader may see the object before it is complete
            with path.open("xb") as file:
                file.write(data)
    finally:
        temporary.unlink(missing_ok=True)


def _put_file(path: Path, data: bytes) -> None:
    """Write under a hidden name, flush to the disk, rename. Readers of the folder skip hidden names."""
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

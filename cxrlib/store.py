"""A results root: where each object of it lies, and how one is put there in a single step."""

from __future__ import annotations

import os
import secrets
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
_SUFFIX: Final = ".parquet"
_PREFIX: Final = "part-"


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
        names = self._names(f"{kind}/bundle={partition}")
        return frozenset(
            name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            for name in names
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
        )

    def partitions(self) -> tuple[str, ...]:
        """Return the bundles that have scores or rejects here, each as ``<name>-<digest8>``, sorted."""
        names = {name for kind in Kind for name in self._names(kind.value)}
        return tuple(sorted(name.removeprefix("bundle=") for name in names if name.startswith("bundle=")))

    def runs(self) -> tuple[str, ...]:
        """Return the ids of all runs into this root, sorted."""
        return tuple(sorted(name for name in self._names("_runs") if not name.startswith(".")))

    def _names(self, folder: str) -> list[str]:
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

"""Open fsspec file systems, cached per process, and derive version tokens that detect changed objects."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations, registry

from cxrlib.extras import missing_extra

#: Version tokens that identify content: two objects with the same token and size have the same bytes. These are MD5s
#: from S3 and Google Cloud Storage, and the MD5 of the parts' MD5s of a multi-part upload. The entity tags of Azure,
#: web servers and Google's own ``etag`` field depend on a time or a generation, not on the bytes.
CONTENT_VERSION: Final = r"^etag:[0-9a-f]{32}(-[0-9]+)?$"

#: Keys of fsspec back ends for the time of the last change, most precise first.
_TIMES: Final = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modified", "created")
_MAX_OPEN_ARCHIVES: Final = 16


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system and the lock that serialises reads from it.

    Attributes
    ----------
    filesystem : AbstractFileSystem
    lock : RLock or None
        Set for archives (``zip::``, ``tar::``), whose members share one file position; None elsewhere.
    """

    filesystem: AbstractFileSystem
    lock: threading.RLock | None = field(default=None, compare=False)

    @contextmanager
    def reading(self) -> Iterator[AbstractFileSystem]:
        """Yield the file system; hold the lock if two threads must not read from it at the same time."""
        if self.lock is None:
            yield self.filesystem
            return
        with self.lock:
            yield self.filesystem


class _ArchiveCache:
    """The archives that this process opened last. They are cached because opening one reads its whole directory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mounts: OrderedDict[tuple[int, str], Mount] = OrderedDict()

    def mount(self, uri: str) -> tuple[Mount, str]:
        link, rest = uri.split("::", 1)
        protocol, _, member = link.partition("://")
        key = (os.getpid(), f"{protocol}://::{rest}")
        with self._lock:
            mounted = self._mounts.get(key)
            if mounted is None:
                mounted = Mount(open_filesystem(key[1])[0], threading.RLock())
                self._mounts[key] = mounted
                while len(self._mounts) > _MAX_OPEN_ARCHIVES:
                    self._mounts.popitem(last=False)
            self._mounts.move_to_end(key)
        return mounted, str(mounted.filesystem._strip_protocol(f"{protocol}://{member}"))

    def forget(self, uri: str) -> None:
        link, rest = uri.split("::", 1)
        with self._lock:
            self._mounts.pop((os.getpid(), f"{link.partition('://')[0]}://::{rest}"), None)


_ARCHIVE_PROTOCOLS: Final = ("zip://", "tar://", "libarchive://")
_archives = _ArchiveCache()


def is_archive_member(uri: str) -> bool:
    """Return whether `uri` names a member of an archive, as in ``zip://a.dcm::s3://bucket/x.zip``."""
    return "::" in uri and uri.startswith(_ARCHIVE_PROTOCOLS)


def is_process_local(uri: str) -> bool:
    """Return whether only this process can open `uri`.

    That holds for ``memory://`` and for file systems that this process registered as a class. Other processes can open
    those that fsspec knows by name.
    """
    protocols = {link.partition("://")[0] for link in uri.split("::") if "://" in link}
    return "memory" in protocols or any(each in registry and each not in known_implementations for each in protocols)


def mount(uri: str) -> tuple[Mount, str]:
    """Return the file system of `uri` and the path of `uri` in it. File systems are cached and shared.

    Raises
    ------
    ValueError, MissingExtraError
        No file system is known or installed for the scheme.
    OSError
        The archive that contains `uri` cannot be opened.
    """
    if is_archive_member(uri):
        return _archives.mount(uri)
    filesystem, path = open_filesystem(uri)
    return Mount(filesystem), path


def open_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of `uri` and the path of `uri` in it, as fsspec's ``url_to_fs`` does.

    Raises
    ------
    MissingExtraError
        The library for the scheme is not installed.
    ValueError, ImportError
        No file system is known for the scheme, or one without an extra of this package is not installed.
    """
    try:
        filesystem, path = url_to_fs(uri)
    except ImportError as error:
        missing = missing_extra(uri, error)
        if missing is None:
            raise
        raise missing from error
    return filesystem, str(path)


def unmount(uri: str) -> None:
    """Drop the cached archive that contains `uri`, so that it is opened again."""
    if is_archive_member(uri):
        _archives.forget(uri)


def uri_of(filesystem: AbstractFileSystem, path: str, source: str) -> str:
    """Return the URI of `path`, which was found while listing `source`."""
    if "::" not in source:
        return str(filesystem.unstrip_protocol(path))
    link, rest = source.split("::", 1)
    return f"{link.partition('://')[0]}://{path}::{rest}"


def version_tokens(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all version tokens that fsspec's `info` of an object allows, most reliable first.

    ``etag:`` (the MD5 of the content if the store has it), ``crc32:`` (members of a zip), ``mtime:`` (seconds since
    1970, UTC, to the microsecond), and always ``size:`` as the last.
    """
    tokens: list[str] = []
    if md5 := _md5_hex(info.get("md5Hash")):
        tokens.append(f"etag:{md5}")
    etag = info.get("ETag") or info.get("etag")
    if etag:
        tokens.append(etag_token(str(etag)))
    if isinstance(info.get("CRC"), int):
        tokens.append(f"crc32:{info['CRC']:08x}")
    moment = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if moment is not None:
        tokens.append(mtime_token(moment))
    size = info.get("size")
    tokens.append("size:unknown" if size is None else f"size:{int(size)}")
    return tuple(tokens)


def etag_token(etag: str) -> str:
    """Return the token of an entity tag, without quotes, so that listings and inventories agree."""
    return "etag:" + re.sub(r'^"|"$', "", etag.strip())


def mtime_token(moment: object) -> str:
    """Return the token of a modification time: seconds since 1970, a datetime (naive means UTC) or ISO 8601 text."""
    if isinstance(moment, str):
        text = moment.strip()
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return f"mtime:{text}"
    if isinstance(moment, dt.datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    return f"mtime:{moment:.6f}" if isinstance(moment, int | float) else f"mtime:{moment}"


def same_version(listed: str, info: Mapping[str, Any]) -> bool:
    """Return whether the object that `info` describes may still be the version `listed`.

    Only tokens of the same kind are compared. If the store has no token of that kind (an inventory listed an etag, the
    store has none), the object counts as unchanged.
    """
    kind = listed.partition(":")[0]
    tokens = version_tokens(info)
    same_kind = [token for token in tokens if token.partition(":")[0] == kind]
    return not same_kind or listed in same_kind


def _md5_hex(encoded: object) -> str | None:
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except binascii.Error:
        return None

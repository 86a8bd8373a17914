"""Where objects are: fsspec file systems kept per process, and version tokens that tell two contents apart."""

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

#: Version tokens whose equality, with equal sizes, says that two objects hold the same bytes: an MD5, as S3 and
#: Google Cloud Storage give it, or the MD5 of the parts' MD5s of a multi-part upload. The entity tags of Azure, of
#: web servers and of Google's own ``etag`` field are made from a time or a generation and say nothing of the bytes.
CONTENT_VERSION: Final = r"^etag:[0-9a-f]{32}(-[0-9]+)?$"

#: Keys under which fsspec back ends give the time of the last change, best first.
_TIMES: Final = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modified", "created")
_ARCHIVES_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system and the lock under which it is read.

    Attributes
    ----------
    filesystem : AbstractFileSystem
    lock : RLock or None
        Set for chains (``zip::``, ``tar::``): their members share one file position.
    """

    filesystem: AbstractFileSystem
    lock: threading.RLock | None = field(default=None, compare=False)

    @contextmanager
    def reading(self) -> Iterator[AbstractFileSystem]:
        """Give the file system, alone where it cannot be read by two threads at once."""
        if self.lock is None:
            yield self.filesystem
            return
        with self.lock:
            yield self.filesystem


class _Archives:
    """The last few archives opened by this process; opening one means reading its directory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mounts: OrderedDict[tuple[int, str], Mount] = OrderedDict()

    def mount(self, uri: str) -> tuple[Mount, str]:
        link, rest = uri.split("::", 1)
        protocol, _, member = link.partition("://")
        key = (os.getpid(), f"{protocol}://::{rest}")
        with self._lock:
            got = self._mounts.get(key)
            if got is None:
                got = Mount(url_to_fs(key[1])[0], threading.RLock())
                self._mounts[key] = got
                while len(self._mounts) > _ARCHIVES_KEPT:
                    self._mounts.popitem(last=False)
            self._mounts.move_to_end(key)
        return got, str(got.filesystem._strip_protocol(f"{protocol}://{member}"))

    def forget(self, uri: str) -> None:
        link, rest = uri.split("::", 1)
        with self._lock:
            self._mounts.pop((os.getpid(), f"{link.partition('://')[0]}://::{rest}"), None)


_ARCHIVE_PROTOCOLS: Final = ("zip://", "tar://", "libarchive://")
_archives = _Archives()


def is_archive_member(uri: str) -> bool:
    """Whether `uri` names a member of an archive, as in ``zip://a.dcm::s3://bucket/x.zip``."""
    return "::" in uri and uri.startswith(_ARCHIVE_PROTOCOLS)


def is_of_this_process(uri: str) -> bool:
    """Whether `uri` leads into the memory of this process, or through a file system that only this process knows.

    That is ``memory://``, and what was registered here as a class; other processes know what is registered by name.
    """
    protocols = {link.partition("://")[0] for link in uri.split("::") if "://" in link}
    return "memory" in protocols or any(each in registry and each not in known_implementations for each in protocols)


def mount(uri: str) -> tuple[Mount, str]:
    """Return the file system that holds `uri` and the path of `uri` in it. Instances are kept and shared.

    Raises
    ------
    ValueError, ImportError
        No file system is known, or installed, for the scheme.
    OSError
        The archive that a chain names cannot be opened.
    """
    if is_archive_member(uri):
        return _archives.mount(uri)
    filesystem, path = url_to_fs(uri)
    return Mount(filesystem), str(path)


def unmount(uri: str) -> None:
    """Forget what is kept of the archive behind `uri`, so that it is opened anew."""
    if is_archive_member(uri):
        _archives.forget(uri)


def uri_of(filesystem: AbstractFileSystem, path: str, source: str) -> str:
    """Return the URI by which `path`, met while listing `source`, is opened again."""
    if "::" not in source:
        return str(filesystem.unstrip_protocol(path))
    link, rest = source.split("::", 1)
    return f"{link.partition('://')[0]}://{path}::{rest}"


def version_tokens(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every version token that fsspec's `info` of an object supports, best first.

    ``etag:`` (a content MD5 where the store gives one), ``crc32:`` (members of a zip), ``mtime:`` (seconds since 1970,
    UTC, to the microsecond), and ``size:`` last, which is always there.
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
    """Return the token of an entity tag; quotes are dropped, so that a listing and an inventory agree."""
    return "etag:" + re.sub(r'^"|"$', "", etag.strip())


def mtime_token(moment: object) -> str:
    """Return the token of a time of change: seconds since 1970 (number), a datetime (naive is UTC) or its ISO form."""
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
    """Whether the object that `info` describes may still be the one that was listed as version `listed`.

    Tokens are compared with those of their own kind. Where the store gives none of that kind (an inventory named an
    etag, the store has none), nothing speaks against it.
    """
    kind = listed.partition(":")[0]
    tokens = version_tokens(info)
    alike = [token for token in tokens if token.partition(":")[0] == kind]
    return not alike or listed in alike


def _md5_hex(encoded: object) -> str | None:
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except binascii.Error:
        return None

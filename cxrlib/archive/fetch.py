"""Fetch the bytes of one listed object: check its size, retry failures, and verify that it has not changed.

The header of a large DICOM object is fetched first. If it is enough to reject the object (a lateral view, a CT slice),
the pixels are never requested.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from fsspec import AbstractFileSystem
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.implementations.local import LocalFileSystem

from cxr_schemas import Reason
from cxrlib.archive import filesystems
from cxrlib.errors import FilmError, MissingExtraError
from cxrlib.reading.early_rejection import rejection_from_head
from cxrlib.settings import ReadSettings, Settings
from cxrlib.types import ImageRef

#: Longest first pause between attempts, in seconds. It doubles with every attempt, up to the second value.
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0

#: Bytes to fetch first: the header of nearly every film fits, including its lookup tables.
HEADER_FETCH_BYTES: Final = 256 * 2**10
#: Smaller objects are fetched in one request, because a second request costs more than their pixels. In bytes.
MIN_SIZE_FOR_HEADER_FETCH: Final = 2**20


def fetch(ref: ImageRef, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """Return the bytes of `ref`.

    Parameters
    ----------
    ref : ImageRef
    settings : Settings
        ``read.max_bytes`` is checked before reading; ``run.fetch_attempts`` limits the attempts.
    sleep : callable
        Called with the seconds to wait between two attempts.

    Raises
    ------
    FilmError
        TOO_LARGE, NOT_FOUND, DENIED, CHANGED; FETCH_FAILED after the last attempt; or a reason of
        `cxrlib.reading.early_rejection`, if the header was fetched first.
    """
    attempts = settings.run.fetch_attempts
    got = "nothing"
    for attempt in range(attempts):
        if attempt:
            # Full jitter: workers that were throttled at the same time must not retry at the same time.
            sleep(random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)))  # noqa: S311
        try:
            return _read(ref, settings.read)
        except (FilmError, MemoryError):
            raise
        except MissingExtraError as error:
            raise FilmError(Reason.FETCH_FAILED, expected="an object that can be read", got=str(error)) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FilmError(Reason.NOT_FOUND, expected="the object that was listed", got="no object") from error
        except PermissionError as error:
            raise FilmError(Reason.DENIED, expected="permission to read the object", got="access denied") from error
        except Exception as error:  # each back end has its own errors, and any may be transient
            got = type(error).__name__
            filesystems.unmount(ref.uri)
    raise FilmError(Reason.FETCH_FAILED, expected="an object that can be read", got=f"{got} at attempt {attempts}")


def _read(ref: ImageRef, settings: ReadSettings) -> bytes:
    max_bytes = settings.max_bytes
    mounted, path = filesystems.mount(ref.uri)
    with mounted.reading() as filesystem:
        size = ref.size
        if size is None:
            size = filesystem.info(path).get("size")
        if size is not None and size > max_bytes:
            raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes", got=f"{size} bytes")
        # One more byte than expected detects an object that grew, without reading all of it.
        end = max_bytes + 1 if size is None else size + 1
        data, rejection = _fetch_header(filesystem, path, size, settings)
        if rejection is None and size != 0 and len(data) < end - 1:
            data += bytes(filesystem.cat_file(path, start=len(data), end=end))
        if size is None and len(data) > max_bytes:
            raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes", got="more")
        # Checked after the read, because that detects a change before, during and just after it.
        filesystem.invalidate_cache(path)
        info = filesystem.info(path)
    if not filesystems.same_version(ref.version, info):
        got = filesystems.version_tokens(info)[0]
        raise FilmError(Reason.CHANGED, expected=f"version {ref.version}", got=f"version {got}")
    actual_size = len(data) if rejection is None else info.get("size")
    if size is not None and actual_size != size:
        if info.get("size") != size:
            raise FilmError(Reason.CHANGED, expected=f"{size} bytes", got=f"{info.get('size')} bytes")
        raise OSError(f"expected {size} bytes of an unchanged object; got {len(data)}")
    if rejection is not None:
        raise rejection
    return data


def _fetch_header(
    filesystem: AbstractFileSystem, path: str, size: int | None, settings: ReadSettings
) -> tuple[bytes, FilmError | None]:
    """Return the first bytes of a large remote object, and the rejection that follows from them; else no bytes."""
    if (
        size is None
        or size < MIN_SIZE_FOR_HEADER_FETCH
        or isinstance(filesystem, LocalFileSystem | AbstractArchiveFileSystem)
    ):
        return b"", None
    head = bytes(filesystem.cat_file(path, start=0, end=HEADER_FETCH_BYTES))
    return head, rejection_from_head(head, size, settings)

"""Fetch the bytes of one listed object: guarded, retried, and only if it is still the object that was listed.

Of a large DICOM object in a store, the header is fetched first. Where that is enough to refuse it, as for every lateral
view and every slice of a CT, the pixels are never asked for.
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
from cxrlib.errors import FilmError
from cxrlib.reading.early_rejection import refused_by_head
from cxrlib.settings import ReadSettings, Settings
from cxrlib.types import ImageRef

#: Seconds of the first pause between tries; each further one may be twice as long, up to the second figure.
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0

#: Bytes that the header of nearly every film fits into, lookup tables included.
HEAD: Final = 256 * 2**10
#: Objects of fewer bytes are fetched at once: a second request costs more than their pixels.
WORTH_A_LOOK: Final = 2**20


def fetch(ref: ImageRef, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """Return the bytes of `ref`.

    Parameters
    ----------
    ref : ImageRef
    settings : Settings
        ``read.max_bytes`` is checked before a byte is read; ``run.fetch_attempts`` bounds the tries.
    sleep : callable
        Called with the seconds between two tries.

    Raises
    ------
    FilmError
        TOO_LARGE, NOT_FOUND, DENIED, CHANGED, or FETCH_FAILED once all tries are spent; or any reason of
        `eligible.refuse`, where the header was looked at first.
    """
    attempts = settings.run.fetch_attempts
    got = "nothing"
    for attempt in range(attempts):
        if attempt:
            # Full jitter: workers that were throttled together must not come back together.
            sleep(random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)))  # noqa: S311
        try:
            return _read(ref, settings.read)
        except (FilmError, MemoryError):
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FilmError(Reason.NOT_FOUND, expected="the object that was listed", got="no object") from error
        except PermissionError as error:
            raise FilmError(Reason.DENIED, expected="leave to read the object", got="a refusal") from error
        except Exception as error:  # each back end has errors of its own, and all may heal
            got = type(error).__name__
            filesystems.unmount(ref.uri)
    raise FilmError(Reason.FETCH_FAILED, expected="an object that can be read", got=f"{got} at try {attempts}")


def _read(ref: ImageRef, settings: ReadSettings) -> bytes:
    max_bytes = settings.max_bytes
    place, path = filesystems.mount(ref.uri)
    with place.reading() as filesystem:
        size = ref.size
        if size is None:
            size = filesystem.info(path).get("size")
        if size is not None and size > max_bytes:
            raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes", got=f"{size} bytes")
        # One byte more than expected: an object that grew is noticed, and is not read to its end.
        end = max_bytes + 1 if size is None else size + 1
        data, refusal = _head(filesystem, path, size, settings)
        if refusal is None and size != 0 and len(data) < end - 1:
            data += bytes(filesystem.cat_file(path, start=len(data), end=end))
        if size is None and len(data) > max_bytes:
            raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes", got="more")
        # Looked at after the read, since a change before, during or just after it shows then alike.
        filesystem.invalidate_cache(path)
        info = filesystem.info(path)
    if not filesystems.same_version(ref.version, info):
        got = filesystems.version_tokens(info)[0]
        raise FilmError(Reason.CHANGED, expected=f"version {ref.version}", got=f"version {got}")
    met_size = len(data) if refusal is None else info.get("size")
    if size is not None and met_size != size:
        if info.get("size") != size:
            raise FilmError(Reason.CHANGED, expected=f"{size} bytes", got=f"{info.get('size')} bytes")
        raise OSError(f"expected {size} bytes of an unchanged object, got {len(data)}")
    if refusal is not None:
        raise refusal
    return data


def _head(
    filesystem: AbstractFileSystem, path: str, size: int | None, settings: ReadSettings
) -> tuple[bytes, FilmError | None]:
    """Return the first bytes of a large object in a store, if they are worth a look, and why they refuse it."""
    if size is None or size < WORTH_A_LOOK or isinstance(filesystem, LocalFileSystem | AbstractArchiveFileSystem):
        return b"", None
    head = bytes(filesystem.cat_file(path, start=0, end=HEAD))
    return head, refused_by_head(head, size, settings)

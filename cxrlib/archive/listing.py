"""List the objects that a run is asked to score: files, globs, prefixes, archives and inventory files, as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from fsspec import AbstractFileSystem

from cxrlib.archive import filesystems, inventory
from cxrlib.archive.reference_tables import references, tabulate
from cxrlib.archive.walk import AHEAD, walk
from cxrlib.errors import UsageError, is_foreign
from cxrlib.types import ImageRef

#: Says that what follows is an inventory, whatever it is called.
INVENTORY_PREFIX: Final = "inventory:"
_INVENTORY_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_WEB: Final = ("http://", "https://")


def list_sources(sources: Sequence[str]) -> Iterator[ImageRef]:
    """Yield a reference to every object that `sources` name, source by source, each in order of path.

    A source is the URI of a file, of a prefix or directory (taken with all below it), of an archive
    (``zip://::s3://bucket/x.zip``), a glob, or an inventory (``inventory:URI``, or any CSV or Parquet file). Hidden
    names (a part that begins with a dot) and the empty objects by which some stores mark a directory are passed over,
    unless named themselves. Nothing is held: where sources overlap, an object comes more than once, and the plan
    counts it once.

    Raises
    ------
    UsageError
        A source cannot be read or lists nothing; says which, and what was tried.
    """
    for batch in list_batches(sources):
        yield from references(batch)


def list_batches(sources: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield what `list_sources` does as batches of schema `cxrlib.archive.reference_tables.LISTED`; raises what that raises."""
    if not sources:
        raise UsageError("expected at least one source: a file, a folder, a glob, a bucket prefix or an inventory")
    for source in sources:
        count = 0
        for batch in _guarded(source):
            count += batch.num_rows
            yield batch
        if not count:
            raise UsageError(f"the source {source} lists no object; {_tried(source)}")


def _guarded(source: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from _list(source)
    except UsageError:
        raise
    except UnicodeEncodeError as error:
        raise UsageError(f"the source {source} holds an object whose name is not valid Unicode") from error
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"the source {source} cannot be listed ({type(error).__name__}); {_tried(source)}") from error
    except Exception as error:
        if not is_foreign(error):
            raise
        raise UsageError(f"the source {source} cannot be listed ({type(error).__name__}); {_tried(source)}") from error


def _list(source: str) -> Iterator[pa.RecordBatch]:
    if source.startswith(INVENTORY_PREFIX):
        yield from inventory.read_inventory(source.removeprefix(INVENTORY_PREFIX))
        return
    place, path = filesystems.mount(source)
    with place.reading() as filesystem:
        info = _info(filesystem, path) if path else None
        is_file = info is not None and info["type"] == "file"
        if is_file and path.endswith(_INVENTORY_SUFFIXES):
            yield from inventory.read_inventory(source)
        else:
            ahead = AHEAD if place.lock is None else 1
            yield from tabulate(_found(filesystem, path, source, info, ahead=ahead))


def _found(
    filesystem: AbstractFileSystem, path: str, source: str, info: dict[str, Any] | None, *, ahead: int
) -> Iterator[ImageRef]:
    """Yield what stands at `path`, matches it, or lies below it."""
    if info is not None and info["type"] == "file":
        yield reference(filesystem, path, info, source)
    elif info is None and _is_glob(source):
        found = filesystem.glob(path, detail=True)
        for name in sorted(found):
            if found[name]["type"] == "file" and not _hidden(name, path):
                yield reference(filesystem, name, found[name], source)
    else:
        for folder in walk(filesystem, path, ahead=ahead):
            for entry in folder.files:
                yield reference(filesystem, entry["name"], entry, source)


def _info(filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    """Return what the store says of `path`, or None where it knows no such object (a glob, an archive's root)."""
    try:
        info: dict[str, Any] = filesystem.info(path)
    except FileNotFoundError:
        return None
    return info


def reference(filesystem: AbstractFileSystem, path: str, info: dict[str, Any], source: str) -> ImageRef:
    """Return the reference to the object at `path`, which `info` describes."""
    uri = filesystems.uri_of(filesystem, path, source)
    uri.encode()  # a file name that is not valid Unicode must be met here, not in the middle of a run
    size = info.get("size")
    version = filesystems.version_tokens(info)[0]
    return ImageRef(uri=uri, version=version, size=None if size is None else int(size))


def _is_glob(source: str) -> bool:
    # In a web address the question mark begins a query.
    return any(sign in source for sign in ("*[" if source.startswith(_WEB) else "*?["))


def _hidden(path: str, pattern: str) -> bool:
    """Whether a part of `path` begins with a dot where the glob `pattern` did not ask for it."""
    if any(part.startswith(".") for part in pattern.split("/")):
        return False
    return any(part.startswith(".") for part in path.split("/"))


def _tried(source: str) -> str:
    if source.startswith(INVENTORY_PREFIX):
        return "it was read as an inventory"
    try:
        place, path = filesystems.mount(source)
    except Exception as error:  # the sentence is for a person; the first failure is what is raised
        return f"no file system could be opened for it ({type(error).__name__})"
    kind = type(place.filesystem).__name__
    return f"it was tried as {'a glob' if _is_glob(source) else 'a file and as a prefix'} on {kind} at {path!r}"

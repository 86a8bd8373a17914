"""List the objects that sources name: files, globs, prefixes, archives and inventories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from fsspec import AbstractFileSystem

from cxrlib.archive import filesystems, inventory
from cxrlib.archive.reference_tables import reference_batches, references
from cxrlib.archive.walk import CONCURRENT_FOLDERS, walk
from cxrlib.errors import UsageError, is_third_party
from cxrlib.extras import missing_extra
from cxrlib.types import ImageRef

#: Marks a source as an inventory, whatever its file name.
INVENTORY_PREFIX: Final = "inventory:"
_INVENTORY_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_WEB: Final = ("http://", "https://")


def list_sources(sources: Sequence[str]) -> Iterator[ImageRef]:
    """Yield a reference to every object that `sources` name, source by source, each in order of path.

    A source is the URI of:

    - a file
    - a prefix or directory, including everything below it
    - an archive (``zip://::s3://bucket/x.zip``)
    - a glob
    - an inventory (``inventory:URI``, or any CSV or Parquet file).

    Hidden names (a part begins with a dot) and the empty objects that mark directories in some stores are skipped,
    unless a source names them. If sources overlap, an object is yielded more than once; the plan removes duplicates.

    Raises
    ------
    UsageError
        A source cannot be read or lists no object.
    """
    for batch in list_batches(sources):
        yield from references(batch)


def list_batches(sources: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the references of `list_sources` as batches of `cxrlib.archive.reference_tables.REFERENCE_SCHEMA`."""
    if not sources:
        raise UsageError("expected at least one source: a file, a folder, a glob, a bucket prefix or an inventory")
    for source in sources:
        count = 0
        for batch in _list_or_explain(source):
            count += batch.num_rows
            yield batch
        if not count:
            raise UsageError(f"the source {source} lists no object; {_describe_attempt(source)}")


def _list_or_explain(source: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from _list(source)
    except UsageError:
        raise
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the source {source} contains an object whose name is not valid Unicode; rename it"
        ) from error
    except (OSError, ValueError, ImportError) as error:
        raise missing_extra(source, error) or UsageError(
            f"the source {source} cannot be listed ({type(error).__name__}); {_describe_attempt(source)}"
        ) from error
    except Exception as error:
        if not is_third_party(error):
            raise
        raise UsageError(
            f"the source {source} cannot be listed ({type(error).__name__}); {_describe_attempt(source)}"
        ) from error


def _list(source: str) -> Iterator[pa.RecordBatch]:
    if source.startswith(INVENTORY_PREFIX):
        yield from inventory.read_inventory(source.removeprefix(INVENTORY_PREFIX))
        return
    mounted, path = filesystems.mount(source)
    with mounted.reading() as filesystem:
        info = _info(filesystem, path) if path else None
        is_file = info is not None and info["type"] == "file"
        if is_file and path.endswith(_INVENTORY_SUFFIXES):
            yield from inventory.read_inventory(source)
        else:
            concurrency = CONCURRENT_FOLDERS if mounted.lock is None else 1
            yield from reference_batches(_matching_objects(filesystem, path, source, info, concurrency=concurrency))


def _matching_objects(
    filesystem: AbstractFileSystem, path: str, source: str, info: dict[str, Any] | None, *, concurrency: int
) -> Iterator[ImageRef]:
    """Yield the file at `path`, the files that match it as a glob, or all files below it."""
    if info is not None and info["type"] == "file":
        yield reference(filesystem, path, info, source)
    elif info is None and _is_glob(source):
        found = filesystem.glob(path, detail=True)
        for name in sorted(found):
            if found[name]["type"] == "file" and not _hidden(name, path):
                yield reference(filesystem, name, found[name], source)
    else:
        for folder in walk(filesystem, path, concurrency=concurrency):
            for entry in folder.files:
                yield reference(filesystem, entry["name"], entry, source)


def _info(filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    """Return fsspec's details of `path`, or None if there is no such object (a glob, the root of an archive)."""
    try:
        info: dict[str, Any] = filesystem.info(path)
    except FileNotFoundError:
        return None
    return info


def reference(filesystem: AbstractFileSystem, path: str, info: dict[str, Any], source: str) -> ImageRef:
    """Return the reference to the object at `path`; `info` holds its fsspec details."""
    uri = filesystems.uri_of(filesystem, path, source)
    uri.encode()  # an invalid file name must fail here and not in the middle of a run
    size = info.get("size")
    version = filesystems.version_tokens(info)[0]
    return ImageRef(uri=uri, version=version, size=None if size is None else int(size))


def _is_glob(source: str) -> bool:
    # In a web address a question mark starts the query.
    return any(sign in source for sign in ("*[" if source.startswith(_WEB) else "*?["))


def _hidden(path: str, pattern: str) -> bool:
    """Return whether a part of `path` begins with a dot although no part of the glob `pattern` does."""
    if any(part.startswith(".") for part in pattern.split("/")):
        return False
    return any(part.startswith(".") for part in path.split("/"))


def _describe_attempt(source: str) -> str:
    if source.startswith(INVENTORY_PREFIX):
        return "it was read as an inventory"
    try:
        mounted, path = filesystems.mount(source)
    except Exception as error:  # only part of the message; the first failure is raised
        return f"no file system could be opened for it ({type(error).__name__})"
    kind = type(mounted.filesystem).__name__
    return f"it was tried as {'a glob' if _is_glob(source) else 'a file and as a prefix'} on {kind} at {path!r}"

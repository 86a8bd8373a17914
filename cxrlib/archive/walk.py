"""Walk the folders of a store, several at a time, in a fixed order: a folder's files, then its folders by name.

A bucket with a folder per day has ten thousand folders. Each needs a request of tens of milliseconds, so that listing
them one after another would take minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fsspec import AbstractFileSystem

#: Folders that are listed at the same time.
CONCURRENT_FOLDERS: Final = 16


@dataclass(frozen=True, slots=True)
class Folder:
    """The content of a folder, without hidden names (they begin with a dot) and directory markers.

    Attributes
    ----------
    files : tuple of dict
        fsspec's details of each file, sorted by name.
    folders : tuple of str
        Paths of the folders, sorted by name.
    """

    files: tuple[dict[str, Any], ...]
    folders: tuple[str, ...]


def walk(filesystem: AbstractFileSystem, root: str, *, concurrency: int = CONCURRENT_FOLDERS) -> Iterator[Folder]:
    """Yield `root` and every folder below it. A folder that does not exist is empty.

    Parameters
    ----------
    concurrency : int
        Folders to list at the same time; 1 if two threads must not use `filesystem` at the same time.

    Raises
    ------
    OSError
        A folder could not be listed. Its films must not be missing silently.
    """
    waiting = deque([str(filesystem._strip_protocol(root))])
    requests: dict[str, Future[Folder]] = {}
    with ThreadPoolExecutor(concurrency, thread_name_prefix="list") as pool:
        try:
            while waiting:
                for path in islice(waiting, concurrency):
                    if path not in requests:
                        requests[path] = pool.submit(_list, filesystem, path)
                folder = requests.pop(waiting.popleft()).result()
                yield folder
                waiting.extendleft(reversed(folder.folders))
        finally:
            for future in requests.values():
                future.cancel()


def _list(filesystem: AbstractFileSystem, path: str) -> Folder:
    try:
        entries = filesystem.ls(path, detail=True)
    except FileNotFoundError:
        return Folder((), ())
    # The cached listing of ten million objects takes gigabytes, and is outdated the next night.
    filesystem.invalidate_cache(path)
    files, folders = {}, {}
    for entry in entries:
        plain = entry["name"].rstrip("/")
        name = plain.rpartition("/")[2]
        # In an object store, a key that ends in a slash or equals the prefix marks a directory.
        if not name or name.startswith(".") or plain == path.rstrip("/"):
            continue
        if entry["type"] == "directory":
            folders[name] = plain
        elif entry["type"] == "file" and not entry["name"].endswith("/"):
            files[name] = entry
    return Folder(
        files=tuple(files[name] for name in sorted(files)), folders=tuple(folders[name] for name in sorted(folders))
    )

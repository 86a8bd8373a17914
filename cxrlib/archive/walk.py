"""Go through the folders of a store, several at a time, in an order that does not hang on which answers first.

A bucket by year, month and day has ten thousand folders, and each takes a request of tens of milliseconds: one after
another they are minutes. The order is that of a walk from the top: a folder's files, then its folders by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fsspec import AbstractFileSystem

#: Folders that are asked for at a time.
AHEAD: Final = 16


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds, besides hidden names (that begin with a dot) and markers of itself.

    Attributes
    ----------
    files : tuple of dict
        fsspec's details of each, by name.
    folders : tuple of str
        Their paths, by name.
    """

    files: tuple[dict[str, Any], ...]
    folders: tuple[str, ...]


def walk(filesystem: AbstractFileSystem, root: str, *, ahead: int = AHEAD) -> Iterator[Folder]:
    """Yield `root` and every folder below it; nothing where `root` is not there.

    Parameters
    ----------
    ahead : int
        Folders that are asked for at a time; 1 where `filesystem` cannot be read by two threads at once.

    Raises
    ------
    OSError
        A folder could not be listed: what it holds must not be missing without a word. One that went away is empty.
    """
    waiting = deque([str(filesystem._strip_protocol(root))])
    asked: dict[str, Future[Folder]] = {}
    with ThreadPoolExecutor(ahead, thread_name_prefix="list") as pool:
        try:
            while waiting:
                for path in islice(waiting, ahead):
                    if path not in asked:
                        asked[path] = pool.submit(_list, filesystem, path)
                folder = asked.pop(waiting.popleft()).result()
                yield folder
                waiting.extendleft(reversed(folder.folders))
        finally:
            for future in asked.values():
                future.cancel()


def _list(filesystem: AbstractFileSystem, path: str) -> Folder:
    try:
        entries = filesystem.ls(path, detail=True)
    except FileNotFoundError:
        return Folder((), ())
    # What is kept of a bucket of ten million objects is gigabytes, and stale by the next night.
    filesystem.invalidate_cache(path)
    files, folders = {}, {}
    for entry in entries:
        plain = entry["name"].rstrip("/")
        name = plain.rpartition("/")[2]
        # A key that ends in a slash, or is the prefix itself, stands for a directory on an object store.
        if not name or name.startswith(".") or plain == path.rstrip("/"):
            continue
        if entry["type"] == "directory":
            folders[name] = plain
        elif entry["type"] == "file" and not entry["name"].endswith("/"):
            files[name] = entry
    return Folder(
        files=tuple(files[name] for name in sorted(files)), folders=tuple(folders[name] for name in sorted(folders))
    )

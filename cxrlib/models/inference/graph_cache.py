"""Disk cache of recorded network graphs, in a folder beside torch's own downloads.

The name of a file is a digest of everything that its graph depends on: bundle, batch, precision, processor, versions,
and the code that builds networks here. A truncated or altered file is ignored. If a file cannot be written, the run
goes on. Both cost only the time to build the network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

from cxrlib.models.inference.graph import GraphError, NetworkGraph
from cxrlib.models.inference.hardware import has_onednn

_LOG = logging.getLogger(__name__)

#: Packages that networks are built with.
_PACKAGES: Final = ("torch", "timm", "segmentation-models-pytorch")
_SUFFIX: Final = ".program"
_DIGEST_BYTES: Final = 32
#: A file that no run has read for this long is removed when another is written.
_MAX_UNUSED_S: Final = 90 * 86_400


def folder() -> Path:
    """Return the folder of the cache: ``cxr-programs`` beside torch's hub, which ``TORCH_HOME`` moves."""
    return Path(torch.hub.get_dir()).parent / "cxr-programs"


def key(bundle_digest: str, network: str, precision: str, batch: int) -> str:
    """Return the key of one network's graph: a SHA-256, hexadecimal, over everything that it depends on."""
    models = Path(__file__).parents[1]
    sources = [*sorted(models.rglob("*.py")), models / "architectures" / "catalog.toml"]
    parts = {
        "network": [bundle_digest, network, precision, batch],
        "versions": [version(package) for package in _PACKAGES],
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability(), has_onednn()],
        "sources": [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(name: str) -> NetworkGraph | None:
    """Return the graph stored under the key `name`, or None if there is none or its file is damaged."""
    data = load_bytes(name)
    if data is None:
        return None
    try:
        return NetworkGraph.from_bytes(data)
    except (RuntimeError, GraphError) as error:
        _ignore(name, error)
        return None


def load_bytes(name: str) -> bytes | None:
    """Return what is stored under the key `name`, or None if there is nothing or the file is damaged."""
    path = _path(name)
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            raise GraphError("its digest differs")
    except FileNotFoundError:
        return None
    except (OSError, GraphError) as error:
        _ignore(name, error)
        return None
    with suppress(OSError):
        os.utime(path)
    return data[_DIGEST_BYTES:]


def store(name: str, graph: NetworkGraph) -> None:
    """Store a graph under the key `name`, as `store_bytes` does."""
    store_bytes(name, graph.to_bytes())


def store_bytes(name: str, data: bytes) -> None:
    """Store `data` under the key `name`, atomically. If it cannot be written (permission, disk full), go on."""
    target = folder()
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target, delete=False) as file:
            try:
                file.write(hashlib.sha256(data).digest() + data)
                file.close()
                os.replace(file.name, _path(name))
            except BaseException:
                os.unlink(file.name)
                raise
        _remove_unused(target)
    except OSError as error:
        _LOG.info("network not cached for later runs in %s: %s", target, error.strerror)


def _path(name: str) -> Path:
    return folder() / f"{name}{_SUFFIX}"


def _ignore(name: str, error: Exception) -> None:
    _LOG.warning(
        "cached network %s is ignored (%s: %s); the network is built instead", _path(name), type(error).__name__, error
    )


def _remove_unused(cache: Path) -> None:
    """Remove files that no run has read for long, and temporary files of killed runs."""
    before = time.time() - _MAX_UNUSED_S
    for path in cache.iterdir():
        with suppress(FileNotFoundError):  # another run removed it
            if path.stat().st_mtime < before:
                path.unlink()

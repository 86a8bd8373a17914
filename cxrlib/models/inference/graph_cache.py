"""Programs of networks, kept from one run to the next, in the folder that torch keeps its own downloads in.

A file is known by all that its program could depend on: bundle, batch, arithmetic, processor, versions, and the code
that makes networks here. One that is cut or altered is not used, and what cannot be written is not kept: both cost the
time to build the network, and nothing else.
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

from cxrlib.models.inference.graph import Program, UnfitError
from cxrlib.models.inference.hardware import has_onednn

_LOG = logging.getLogger(__name__)

#: What networks are built of.
_PACKAGES: Final = ("torch", "timm", "segmentation-models-pytorch")
_SUFFIX: Final = ".program"
_DIGEST_BYTES: Final = 32
#: A file that no run has read for so long is removed when another is written.
_KEPT_FOR_S: Final = 90 * 86_400


def folder() -> Path:
    """Return where programs are kept: beside torch's hub, which ``TORCH_HOME`` moves."""
    return Path(torch.hub.get_dir()).parent / "cxr-programs"


def key(bundle_digest: str, network: str, precision: str, batch: int) -> str:
    """Return the name of one network's program: a SHA-256, hexadecimal, over all that it depends on."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    parts = {
        "network": [bundle_digest, network, precision, batch],
        "versions": [version(package) for package in _PACKAGES],
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability(), has_onednn()],
        "sources": [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(name: str) -> Program | None:
    """Return the program kept under `name`, or None where there is none that is whole."""
    path = folder() / f"{name}{_SUFFIX}"
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            raise UnfitError("its digest differs")
        program = Program.from_bytes(data[_DIGEST_BYTES:])
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, UnfitError) as error:
        _LOG.warning("kept network %s is not used: %s: %s; it is built anew", path, type(error).__name__, error)
        return None
    with suppress(OSError):
        os.utime(path)
    return program


def keep(name: str, program: Program) -> None:
    """Keep a program under `name`, whole or not at all; where that cannot be, for want of leave or room, go on."""
    place = folder()
    data = program.to_bytes()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
            try:
                file.write(hashlib.sha256(data).digest() + data)
                file.close()
                os.replace(file.name, place / f"{name}{_SUFFIX}")
            except BaseException:
                os.unlink(file.name)
                raise
        _remove_unread(place)
    except OSError as error:
        _LOG.info("network not kept for later runs in %s: %s", place, error.strerror)


def _remove_unread(place: Path) -> None:
    """Remove what no run has read for long, and what a run that was killed has left."""
    before = time.time() - _KEPT_FOR_S
    for path in place.iterdir():
        with suppress(FileNotFoundError):  # another run did
            if path.stat().st_mtime < before:
                path.unlink()

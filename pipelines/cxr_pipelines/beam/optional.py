"""Optional modules of Beam, which local runs leave out to start faster.

Each imports libraries that are installed here for other purposes: the clients of Google, Amazon and Azure, and the
optimisers of scipy. Together they take 1 s to import, twice as long as the rest of Beam, and 50 MiB in each process of
a run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Final

#: Films and results are read and written with fsspec. A runner on a cluster may stage its job in one of these stores.
#: The last module shares a GPU among several models.
OPTIONAL: Final = (
    "apache_beam.io.aws.s3filesystem",
    "apache_beam.io.azure.blobstoragefilesystem",
    "apache_beam.io.gcp.bigquery",
    "apache_beam.io.gcp.gcsfilesystem",
    "apache_beam.ml.inference.model_manager",
)


@contextmanager
def without_modules(modules: Iterable[str]) -> Iterator[None]:
    """Inside the block, import as if `modules` were not installed; modules that are imported already stay.

    ``None`` in `sys.modules` makes an import raise ModuleNotFoundError (The Python Language Reference, 5.3.1). The type
    stubs do not allow it.
    """
    blocked = [module for module in modules if module not in sys.modules]
    for module in blocked:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in blocked:
            del sys.modules[module]


def import_optional() -> None:
    """Import the optional modules that are installed: Beam then finds its file systems by their schemes.

    Beam's warning about a missing Google client is suppressed. Nothing here uses that client, and logging through the
    root logger would install handlers that the application did not configure.
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(silent)
    root.setLevel(logging.ERROR)
    try:
        for module in OPTIONAL:
            with suppress(ImportError):
                import_module(module)
    finally:
        root.setLevel(level)
        root.removeHandler(silent)

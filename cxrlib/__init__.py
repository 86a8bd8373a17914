"""Score chest X-rays: read, segment, classify, clean, measure. Knows nothing of Beam or Prefect."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cxr-batch")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0+checkout"

"""OpenVINO, imported without its telemetry. Every other module takes `ov`, `opset` and `core` from here.

At import, OpenVINO's converter reports the version in use to Google Analytics, if the package ``openvino_telemetry`` is
found; pip installs it with OpenVINO. A hospital's machine must not report what it runs, so the package is hidden:
OpenVINO then uses its own stub.
"""

from __future__ import annotations

import sys
from functools import cache

# None makes an import raise ModuleNotFoundError (The Python Language Reference, 5.3.1). The stubs do not allow it.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402

__all__ = ["core", "opset", "ov"]

#: The operations of which graphs are built.
opset = ov.opset13


@cache
def core() -> ov.Core:
    """Return the OpenVINO of this process."""
    return ov.Core()

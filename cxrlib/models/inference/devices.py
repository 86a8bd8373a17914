"""Choose the device of the networks. torch is imported only where there may be a GPU."""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any

from cxrlib.errors import UsageError
from cxrlib.extras import is_installed, require


def has_cuda_driver() -> bool:
    """Return whether this machine has the driver library of CUDA. It loads in a millisecond, torch in two seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def check_device_name(name: str) -> None:
    """Check that `name` is the name of a device, whether this machine has it or not.

    Raises
    ------
    UsageError
        It is not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:(\d+|all))?", name):
        raise UsageError(f"device: expected auto, cpu, cuda, cuda:N or cuda:all; got {name!r}")


def choose_device(wanted: str) -> str:
    """Return the device called `wanted`: ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is the first CUDA device if there is one and torch is installed, else the CPU.

    Raises
    ------
    UsageError
        The name is not a device, this machine has no such device, or torch is not installed.
    """
    if wanted == "auto":
        return "cuda" if has_cuda_driver() and is_installed("torch") and _cuda_devices() else "cpu"
    if wanted == "cpu":
        return wanted
    check_device_name(wanted)
    if wanted == "cuda:all":
        raise UsageError("device: expected one device; got cuda:all, which only a run can use")
    require(f"the device {wanted}", "gpu")
    count = _cuda_devices()
    if int(wanted.partition(":")[2] or 0) >= count:
        raise UsageError(f"device: expected one of this machine's {count} CUDA devices or cpu; got {wanted!r}")
    return wanted


def cuda_memories() -> list[int]:
    """Return the memory of each CUDA device that torch can use here, in bytes; empty if there is none."""
    return [int(each.total_memory) for each in _cuda_properties()]


def cuda_names() -> list[str]:
    """Return a name for each CUDA device that torch can use here; it is the same in all processes of the machine."""
    return [str(each.uuid) for each in _cuda_properties()]


def _cuda_properties() -> list[Any]:
    if not has_cuda_driver() or not is_installed("torch"):
        return []
    import torch  # noqa: PLC0415 - takes seconds

    return [torch.cuda.get_device_properties(index) for index in range(_cuda_devices())]


def _cuda_devices() -> int:
    """Return the number of CUDA devices that torch can use."""
    import torch  # noqa: PLC0415 - takes seconds

    return torch.cuda.device_count() if torch.cuda.is_available() else 0

"""Choose the device and the precision (arithmetic) of the networks."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import torch

from cxrlib.errors import UsageError


class Precision(StrEnum):
    """Arithmetic of the networks."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    @property
    def dtype(self) -> torch.dtype:
        """The torch data type."""
        return _DTYPES[self]


_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def choose_device(wanted: str) -> torch.device:
    """Return the device called `wanted`; ``auto`` is the first CUDA device if there is one, else the CPU.

    Raises
    ------
    UsageError
        The name is not a device, or this machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"device: expected auto, cpu, cuda or cuda:N; got {wanted!r}") from error
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device: expected auto, cpu, cuda or cuda:N; got {wanted!r}")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"device: expected one of this machine's {count} CUDA devices or cpu; got {wanted!r}")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Return the precision called `wanted`.

    ``auto`` is bf16 if the hardware computes faster in it, fp16 on GPUs without bf16, and fp32 otherwise. The choice
    depends on the reported hardware and not on a timing, so it is the same in every run.
    """
    if wanted != "auto":
        return Precision(wanted)
    if device.type == "cuda":
        return Precision.BF16 if torch.cuda.get_device_capability(device) >= (8, 0) else Precision.FP16
    return Precision.BF16 if _bf16_is_faster() else Precision.FP32


def _bf16_is_faster() -> bool:
    """Return whether this CPU runs networks faster in bf16 than in fp32.

    Measured with the default bundle on one core, as bf16 time over fp32 time: at most a third with AMX, 0.51 with
    AVX-512 bf16 on AMD Zen 4 (24.6 ms against 47.9 ms), and 1.5 with AVX-512 bf16 on an Intel CPU without AMX. Zen 4
    multiplies twice as many bf16 numbers at a time.
    """
    capabilities = torch.cpu.get_capabilities()
    is_amd = str(capabilities.get("cpu_name")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (is_amd and capabilities.get("avx512_bf16")))


def has_onednn() -> bool:
    """Return whether torch was built with oneDNN."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def free_cached_memory(device: torch.device) -> None:
    """Return the GPU memory that torch caches for reuse to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()

"""On which device the networks run, and in which arithmetic."""

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
        """What torch calls it."""
        return _DTYPES[self]


_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def choose_device(wanted: str) -> torch.device:
    """Return the device called `wanted`; ``auto`` is the first CUDA device, else the CPU.

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
        raise UsageError(f"device {wanted!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device {wanted!r}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {wanted!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Return the precision called `wanted`; ``auto`` is bf16 where the hardware gains by it, fp16 on
    older GPUs, else fp32.

    The choice follows from what the processor says of itself and not from a timing, so it is the same in every run.
    """
    if wanted != "auto":
        return Precision(wanted)
    if device.type == "cuda":
        return Precision.BF16 if torch.cuda.get_device_capability(device) >= (8, 0) else Precision.FP16
    return Precision.BF16 if _processor_gains_by_bf16() else Precision.FP32


def _processor_gains_by_bf16() -> bool:
    """Return whether networks run faster in bf16 here, as was measured with the default bundle on one core.

    With AMX a film took a quarter of fp32's time (before `DoublingConvolution`, which takes a quarter off fp32). The
    bf16 instructions of AVX-512 halve it on AMD's processors (Zen 4: 24.6 ms for 47.9), which multiply twice as many of
    bf16 at a time; on an Intel one without AMX they took half as long again as fp32.
    """
    told = torch.cpu.get_capabilities()
    by_amd = str(told.get("cpu_name")).startswith("AMD")
    return bool(told.get("amx_bf16") or (by_amd and told.get("avx512_bf16")))


def has_onednn() -> bool:
    """Return whether torch was built with oneDNN."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def release(device: torch.device) -> None:
    """Hand memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()

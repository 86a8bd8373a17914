"""Device and precision depend on the setting and on the hardware that the machine reports."""

from __future__ import annotations

import pytest
import torch

from cxrlib.errors import UsageError
from cxrlib.models.inference.hardware import Precision, choose_device, choose_precision


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu 0"])
def test_a_missing_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


_INTEL, _AMD = "Intel(R) Xeon(R) Processor", "AMD EPYC"


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"cpu_name": _INTEL, "avx512_bf16": True, "amx_bf16": True}, Precision.BF16),
        ({"cpu_name": _INTEL, "avx512_bf16": True, "amx_bf16": False}, Precision.FP32),
        ({"cpu_name": _AMD, "avx512_bf16": True, "amx_bf16": False}, Precision.BF16),
        ({"cpu_name": _AMD, "avx512_bf16": False, "amx_bf16": False}, Precision.FP32),
        ({}, Precision.FP32),
    ],
)
def test_auto_precision_depends_on_the_reported_processor(
    capabilities: dict[str, str | bool], precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", cpu) is precision
    assert choose_precision("bf16", cpu) is Precision.BF16

"""Device and precision follow from what is asked and what the machine says of itself."""

from __future__ import annotations

import pytest
import torch

from cxrlib.errors import UsageError
from cxrlib.models.hardware import Precision, choose_device, choose_precision


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu 0"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


def test_precision_follows_from_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True})
    assert choose_precision("auto", cpu) is Precision.BF16
    for slower in ({"avx512_bf16": True, "amx_bf16": False}, {}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda slower=slower: slower)
        assert choose_precision("auto", cpu) is Precision.FP32
    assert choose_precision("bf16", cpu) is Precision.BF16

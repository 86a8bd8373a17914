"""The device depends on the setting and on what the machine has."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from cxrlib.errors import UsageError
from cxrlib.models.inference import devices
from cxrlib.models.inference.devices import choose_device


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu 0", "cuda:", "cuda:all"])
def test_a_missing_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


@pytest.mark.parametrize(
    ("driver", "available", "device"), [(True, True, "cuda"), (True, False, "cpu"), (False, True, "cpu")]
)
def test_auto_is_the_gpu_where_driver_and_torch_have_one(
    monkeypatch: pytest.MonkeyPatch, driver: bool, available: bool, device: str
) -> None:
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == device


def test_without_torch_a_gpu_is_a_usage_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose_device("auto") == "cpu"
    with pytest.raises(UsageError, match=r"pip install '.\[gpu\]"):
        choose_device("cuda")


def test_without_a_driver_torch_is_not_imported() -> None:
    program = """
import sys
from cxrlib.models.inference import devices
devices.has_cuda_driver = lambda: False
assert devices.choose_device("auto") == "cpu"
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"

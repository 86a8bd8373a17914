"""Automatic precision depends on the hardware that the machine reports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cxrlib.models.inference import precision as precision_module
from cxrlib.models.inference.precision import Precision, choose_precision

_INTEL, _AMD = "GenuineIntel", "AuthenticAMD"


@pytest.mark.parametrize(
    ("vendor", "flags", "precision"),
    [
        (_INTEL, "avx512f avx512_bf16 amx_bf16", Precision.BF16),
        (_INTEL, "avx512f avx512_bf16", Precision.FP32),
        (_AMD, "avx512f avx512_bf16", Precision.BF16),
        (_AMD, "avx512f", Precision.FP32),
        ("", "", Precision.FP32),
    ],
)
def test_auto_depends_on_the_reported_processor(
    vendor: str, flags: str, precision: Precision, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = tmp_path / "cpuinfo"
    processor = f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n\n"
    report.write_text(f"processor\t: 0\n{processor}processor\t: 1\n{processor}")
    monkeypatch.setattr(precision_module, "_CPUINFO", report)
    assert choose_precision("auto", "cpu") is precision
    assert choose_precision("bf16", "cpu") is Precision.BF16


def test_auto_is_fp32_where_the_system_reports_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision_module, "_CPUINFO", tmp_path / "none")
    assert choose_precision("auto", "cpu") is Precision.FP32


@pytest.mark.parametrize(("capability", "precision"), [((9, 0), Precision.BF16), ((7, 5), Precision.FP16)])
def test_auto_on_a_gpu_depends_on_its_capability(
    capability: tuple[int, int], precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", "cuda:1") is precision

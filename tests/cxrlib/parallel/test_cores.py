"""The number of cores that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxrlib.parallel.cores import cores


def test_cores_are_those_of_the_cpu_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cxrlib.parallel.cores._QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert cores() == 3


@pytest.mark.parametrize(
    ("content", "expected"), [("max 100000", 8), ("150000 100000", 2), ("20000 100000", 1), ("9900000 100000", 8)]
)
def test_cpu_quota_of_a_container_counts(
    content: str, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    monkeypatch.setattr("cxrlib.parallel.cores._QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cores() == expected

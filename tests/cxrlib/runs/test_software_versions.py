"""The versions in a manifest: every installed library that can change a row."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

import cxrlib
from cxrlib.runs import software_versions

#: Packages of the product that turn bytes into a row.
_FOLDERS = ("reading", "measuring", "models/architectures", "models/inference")
#: Imported there without an effect on rows: they read settings, cards and weights, or serve typing.
_WITHOUT_EFFECT = {"fsspec", "pydantic", "safetensors", "cxr-batch"}


def imported() -> set[str]:
    """Return the distributions that modules of these packages import."""
    root = Path(cxrlib.__file__).parent
    names: set[str] = set()
    for folder in _FOLDERS:
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {of.name.partition(".")[0] for of in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
    of_name = importlib.metadata.packages_distributions()
    third_party = names - sys.stdlib_module_names - {"cxrlib", "cxr_schemas"}
    # A library that is not installed, such as an optional engine, has the name of its distribution.
    return {of_name.get(name, [name])[0].lower().replace("_", "-") for name in third_party}


def test_all_libraries_that_can_change_a_row_are_listed() -> None:
    assert imported() - _WITHOUT_EFFECT <= set(software_versions.DISTRIBUTIONS)


def uninstall(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let these distributions look as if they were not installed."""
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)


def test_distribution_that_is_not_installed_is_left_out_and_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = software_versions.environment()
    uninstall(monkeypatch, "scipy")
    assert "scipy" not in software_versions.installed()
    assert software_versions.differences(planned) == f"scipy {planned['scipy']} here none"
    assert software_versions.differences(software_versions.environment()) == ""


def test_worker_without_the_extra_gpu_serves_a_planner_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = software_versions.environment()
    assert software_versions.differences({**planned, "torch": "0"}) == f"torch 0 here {planned['torch']}"
    uninstall(monkeypatch, "torch", "timm")
    assert software_versions.differences(planned) == ""

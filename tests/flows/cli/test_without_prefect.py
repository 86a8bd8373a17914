"""A run and a backfill need no Prefect: the commands work where its import fails, in child processes too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlib.phantom.archive import write_archive


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two phantoms, and a folder `blocked` in which every import of Prefect fails."""
    made = tmp_path_factory.mktemp("without-prefect")
    (made / "blocked").mkdir()
    (made / "blocked" / "prefect.py").write_text("raise ImportError('Prefect is blocked')\n")
    write_archive(str(made / "phantoms"), 2, rows=192, columns=192, workers=1)
    return made


def cxr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cxr` without Prefect."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "cxr_flows.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "blocked")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("score", "phantoms/films", "--out", "scored", "--quiet"), "2 scored"),
        (("verify", "scored"), "every listed object has an outcome"),
        (("status", "scored"), "2 score rows"),
        (("backfill", "phantoms/films", "--out", "filled", "--id", "b", "--quiet"), "2 scored"),
        (("backfill", "show", "b", "--out", "filled"), "all parts are done"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_commands_work_without_prefect(folder: Path, arguments: tuple[str, ...], output: str) -> None:
    done = cxr(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert output in done.stdout


def test_nightly_needs_prefect(folder: Path) -> None:
    done = cxr(folder, "nightly", "phantoms/films", "--out", "nightly")
    assert done.returncode == 1
    assert "Prefect is blocked" in done.stderr

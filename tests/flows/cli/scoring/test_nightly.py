"""`cxr nightly` without a Prefect server: its results, its artifacts, and a second night without new films."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxrlib.models.bundle import write_bundle
from cxrlib.phantom.archive import write_archive
from tests.support.paths import ROOT
from tests.support.tiny_bundles import tiny_bundle

FILMS, BAD = 3, 2


def _nightly(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run ``cxr nightly`` on the archive in `folder`; return its exit code, its manifest and its stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CXR_"))}
    environment["PREFECT_HOME"] = str(folder / "prefect")
    arguments = [str(folder / "archive" / "films"), "--out", str(folder / "out"), "--bundle", str(folder / "tiny")]
    arguments += ["--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "cxr_flows.cli.main", "nightly", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=300,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nightly")
    bundle = tiny_bundle()
    write_bundle(str(made / "tiny"), bundle.card, bundle.files)
    write_archive(str(made / "archive"), FILMS, seed=3, rows=320, columns=320, bad=BAD, workers=1)
    return made


def test_nightly_scores_publishes_artifacts_and_decodes_nothing_the_next_night(folder: Path) -> None:
    code, manifest, stderr = _nightly(folder, "--run-id", "first")
    assert code == 0, stderr
    counts = manifest["counts"]
    assert counts["listed"] == counts["scored"] + counts["rejected"] + counts["duplicate"]
    assert counts["listed"] == FILMS + BAD
    assert set(manifest["reasons"]) >= {"empty", "not_an_image"}
    with sqlite3.connect(folder / "prefect" / "prefect.db") as database:
        artifacts = dict(database.execute("select key, type from artifact"))
        tasks = {name for (name,) in database.execute("select name from task_run where state_type = 'COMPLETED'")}
    assert artifacts == {"cxr-progress": "progress", "cxr-summary": "markdown"}
    assert len(tasks) == 3
    assert "Traceback" not in stderr

    code, again, stderr = _nightly(folder)
    assert code == 0, stderr
    assert again["counts"]["settled_before"] == counts["listed"] - counts["duplicate"]
    assert (again["counts"]["scored"], again["chunks_settled_here"]) == (0, 0)
    assert "nothing was decoded" in stderr

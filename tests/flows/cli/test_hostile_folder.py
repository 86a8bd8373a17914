"""Commands in a folder whose modules have the names of this project's folders and raise on import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrlib.phantom.archive import write_archive

#: Names that a user may give to modules; the project's own packages had them, or its dependencies' modules have them.
NAMES = ("flows", "pipelines", "cohort", "score", "settings")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hostile folder, which also holds two phantoms."""
    made = tmp_path_factory.mktemp("hostile")
    (made / "schemas").mkdir()
    for name in NAMES:
        (made / f"{name}.py").write_text(f"raise RuntimeError('imported {name} from the working folder')\n")
    write_archive(str(made / "phantoms"), 2, rows=192, columns=192, workers=1)
    return made


#: The command `cxr`, as its console script starts it.
COMMAND = "import sys; from cxr_flows.cli.main import main; sys.exit(main())"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the hostile folder, with the folder on PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CXR_"))}
    environment.update(PREFECT_HOME=str(folder / "prefect"), PYTHONPATH=str(folder))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "phantoms/films", "--out", "scored", "--quiet"),
        ("score", "phantoms/films", "--out", "scored-by-workers", "--quiet", "--workers", "2"),
        ("nightly", "phantoms/films", "--out", "nightly"),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[5:]),
)
def test_commands_work_in_a_hostile_folder(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, "-c", COMMAND, *arguments)
    assert done.returncode == 0, done.stderr
    assert "2 scored" in done.stdout


def test_verify_works_in_a_hostile_folder(folder: Path) -> None:
    for arguments in (("score", "phantoms/films", "--out", "to-verify", "--quiet"), ("verify", "to-verify")):
        done = run(folder, "-c", COMMAND, *arguments)
        assert done.returncode == 0, done.stderr
    assert "2 scored" in done.stdout


def test_the_cohort_is_imported_in_a_hostile_folder(folder: Path) -> None:
    done = run(folder, "-c", "import cxrlib.cohort, cxrlib; print(cxrlib.__version__)")
    assert done.returncode == 0, done.stderr

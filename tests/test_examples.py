"""The examples in the docstrings of the public functions run as they are printed."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from cxr_pipelines.score import score
from cxrlib.phantom.archive import write_archive
from cxrlib.settings import Settings

#: Module and function of each documented front door.
FUNCTIONS: Final = (
    ("cxr_pipelines.score", "score"),
    ("cxrlib.models.bundle", "load_bundle"),
    ("cxrlib.reading.read", "read_film"),
    ("cxrlib.results.cohort", "load"),
    ("cxrlib.results.verify", "verify"),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A results root with two scored phantoms; examples call it `results`."""
    folder = tmp_path_factory.mktemp("examples")
    films = write_archive(str(folder), 2, seed=1, rows=256, columns=256, workers=1).films_uri
    score([films], str(folder / "results"), Settings())
    return str(folder / "results")


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_the_example_of_a_public_function_runs(
    module: str, function: str, results: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    documented: Callable[..., object] = getattr(import_module(module), function)
    (example,) = (
        found
        for found in doctest.DocTestFinder(recurse=False).find(documented, function, globs={"results": results})
        if found.examples
    )
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        example, out=report.append
    )
    assert outcome.failed == 0, "".join(report)

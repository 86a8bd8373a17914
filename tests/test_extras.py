"""Extras: the table, pyproject.toml and the imports of the code agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from cxrlib.errors import MissingExtraError
from cxrlib.extras import BUILDS_ON, LIBRARIES, PACKAGE, is_installed, missing_extra, require
from tests.support.paths import ROOT
from tests.test_structure import SOURCES, modules

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]
#: Extras for work on this project.
OF_DEVELOPERS: Final = {"dev", "infra", "bench"}
#: Requirements that bound the version of a library of a library.
BOUNDS: Final = {"flows": {"fastapi", "sqlalchemy"}}
#: Modules that only other libraries import: fsspec, timm, moto, Beam.
IMPORTED_BY_OTHERS: Final = {
    *("aiohttp", "adlfs", "gcsfs", "torchvision", "flask", "flask_cors"),
    *("google.cloud.dataflow", "google_auth_httplib2"),
}


def name_of(requirement: str) -> str:
    """Return the name of the distribution in a requirement."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def own(requirement: str) -> list[str]:
    """Return the extras of this package that a requirement names."""
    found = re.fullmatch(rf"{PACKAGE}\[([\w,]+)\]", requirement)
    return found[1].split(",") if found else []


def imported(path: Path) -> set[str]:
    """Return the modules of other projects that a file imports, also within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{each.name}" for each in node.names}
    top = sys.stdlib_module_names | SOURCES.keys()
    return {name for name in names if name.partition(".")[0] not in top}


def library_of(name: str) -> str | None:
    """Return the entry of the table that `name` belongs to."""
    return next((module for module in LIBRARIES if f"{name}.".startswith(f"{module}.")), None)


def test_every_import_of_another_library_is_in_the_base_or_in_the_table() -> None:
    base = {name_of(requirement).replace("-", "_") for requirement in PROJECT["dependencies"]}
    unknown = {
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imported(path)
        if library_of(name) is None and name.partition(".")[0] not in base
    }
    assert unknown == set()


def test_every_library_of_the_base_and_of_the_table_is_imported() -> None:
    names = {name for path in modules().values() for name in imported(path)}
    assert set(LIBRARIES) - {library_of(name) for name in names} == IMPORTED_BY_OTHERS
    base = {name_of(requirement).replace("-", "_") for requirement in PROJECT["dependencies"]}
    assert base - {name.partition(".")[0] for name in names} == set()


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - OF_DEVELOPERS))
def test_table_lists_what_pyproject_lists(extra: str) -> None:
    stated = {name_of(requirement) for requirement in EXTRAS[extra] if not own(requirement)}
    assert {library.distribution for library in LIBRARIES.values() if library.extra == extra} == (
        stated - BOUNDS.get(extra, set())
    )
    assert {name for requirement in EXTRAS[extra] for name in own(requirement)} == set(BUILDS_ON[extra])


def test_the_extra_dev_installs_every_extra_of_users() -> None:
    assert {name for requirement in EXTRAS["dev"] for name in own(requirement)} == EXTRAS.keys() - OF_DEVELOPERS
    assert EXTRAS.keys() - OF_DEVELOPERS == BUILDS_ON.keys()


def test_pinned_files_hold_every_requirement_and_the_demo_a_part() -> None:
    everything, demo = (
        {line.partition(" ;")[0] for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line[0] != "#"}
        for name in ("requirements.lock", "requirements-demo.lock")
    )
    named = {line.partition("==")[0] for line in everything}
    users = [requirement for extra in EXTRAS.keys() - {"infra", "bench"} for requirement in EXTRAS[extra]]
    needed = {name_of(requirement).lower() for requirement in (*PROJECT["dependencies"], *users)}
    assert needed - named == {PACKAGE}
    assert demo < everything
    of_demo = {line.partition("==")[0] for line in demo}
    assert {"apache-beam", "moto", "openvino", "prefect", "s3fs"} <= of_demo
    assert of_demo & {"torch", "timm", "gcsfs", "pytest"} == set()


def test_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require("a test", "score")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert not is_installed("cv2")
    text = "a test needs opencv-python-headless, which is not installed; in a clone of cxr: pip install '.[{}]'"
    for extra in ("score", "train"):
        with pytest.raises(MissingExtraError) as got:
            require("a test", extra)
        assert str(got.value) == text.format(extra)
        assert got.value.exit_code == 2
    error = ImportError("Install a library")
    error.__cause__ = ModuleNotFoundError("No module named 'cv2.typing'", name="cv2.typing")
    assert str(missing_extra("a test", error)) == text.format("score")


def test_other_errors_name_no_extra() -> None:
    for error in (
        ModuleNotFoundError("No module named 'mine'", name="mine"),
        ModuleNotFoundError("No module named 'cv2.mine'", name="cv2.mine"),  # OpenCV itself is installed
        ImportError("cannot import name"),
        ValueError("other"),
    ):
        assert missing_extra("a test", error) is None

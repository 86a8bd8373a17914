"""The structure of the code: one-way imports, no cycles, short modules, small folders, light front doors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

from tests.support.paths import ROOT

#: The layers of the product, lowest first. A module may import its own entry and entries of lower layers.
LAYERS: Final[tuple[tuple[str, ...], ...]] = (
    ("cxr_schemas",),
    ("cxrlib",),
    ("cxrlib.errors",),
    ("cxrlib.extras", "cxrlib.settings"),
    ("cxrlib.types", "cxrlib.privacy", "cxrlib.parallel"),
    ("cxrlib.reading", "cxrlib.phantom"),
    ("cxrlib.archive", "cxrlib.measuring"),
    ("cxrlib.models", "cxrlib.datasets"),
    ("cxrlib.results.layout",),
    ("cxrlib.results.objects",),
    ("cxrlib.results.rows", "cxrlib.results.row_builder", "cxrlib.results.parquet"),
    ("cxrlib.film_steps",),
    ("cxrlib.runs",),
    ("cxrlib.backfills",),
    ("cxrlib.results", "cxrlib.training", "cxrlib.evaluation"),
    ("cxrlib.cohort",),
    ("cxr_pipelines",),
    ("cxr_flows",),
)
SOURCES: Final = {
    "cxrlib": ROOT,
    "cxr_schemas": ROOT / "schemas",
    "cxr_pipelines": ROOT / "pipelines",
    "cxr_flows": ROOT / "flows",
}
MOST_LINES: Final = 350
MOST_MODULES: Final = 15


def modules() -> dict[str, Path]:
    """Return the file of every module of the product by its dotted name."""
    return {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for package, source in SOURCES.items()
        for path in sorted((source / package).rglob("*.py"))
    }


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the product's modules that a file imports, also within functions; not what only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in known else node.module


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Return what each module imports."""
    known = modules()
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in known.items():
        found[name] = set(imported(path, known)) - {name}
    return found


def layer_of(module: str) -> tuple[int, str]:
    """Return the layer of a module and the entry that places it there: the longest that is a prefix of its name."""
    entries = [(entry, level) for level, entries in enumerate(LAYERS) for entry in entries]
    fitting = [(entry, level) for entry, level in entries if module == entry or module.startswith(f"{entry}.")]
    entry, level = max(fitting, key=lambda each: len(each[0]))
    return level, entry


def test_no_module_imports_itself_through_others(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"expected no import cycle; got {' -> '.join(error.args[1])}")


def test_no_module_imports_from_a_higher_layer(graph: dict[str, set[str]]) -> None:
    upward = []
    for module, others in graph.items():
        level, entry = layer_of(module)
        for other in sorted(others):
            other_level, other_entry = layer_of(other)
            if other_entry != entry and other_level >= level:
                upward.append(f"{module} imports {other}")
    assert upward == []


def test_only_flows_import_prefect_and_only_pipelines_import_beam() -> None:
    allowed = {"prefect": ("cxr_flows",), "apache_beam": ("cxr_pipelines.beam",)}
    wrong = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                library = name.partition(".")[0]
                if library in allowed and not module.startswith(allowed[library]):
                    wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_no_module_is_longer_than_350_lines() -> None:
    paths = [*modules().values(), *(ROOT / "tests").rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_folder_of_the_product_has_more_than_15_modules() -> None:
    folders: dict[str, int] = defaultdict(int)
    for path in modules().values():
        folders[str(path.parent.relative_to(ROOT))] += path.name != "__init__.py"
    assert {name: count for name, count in folders.items() if count > MOST_MODULES} == {}


def test_the_readme_has_at_most_180_lines_of_120_characters() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("module", ["cxrlib", "cxrlib.cohort"])
def test_reading_a_table_loads_no_torch_opencv_scipy_or_beam(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "cv2", "scipy", "apache_beam"} & set(done.stdout.split()) == set()


def test_every_public_name_of_the_library_can_be_imported() -> None:
    import cxrlib

    assert [name for name in cxrlib.__all__ if getattr(cxrlib, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'load'"):
        _ = cxrlib.load

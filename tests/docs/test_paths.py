"""Every path, link and dotted name in the project's pages exists."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.docs.readme_blocks import pages
from tests.support.paths import ROOT

_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_CODE: Final = re.compile(r"`(?P<code>[^`\n]+)`")
#: A path of this repository, from its root.
_PATH: Final = re.compile(
    r"(?<![\w./-])(?P<path>(?:cxrlib|schemas|pipelines|flows|infra|tests|\.ci)/[\w./-]*\w/?|(?:Makefile|pyproject\.toml))"
)
_MODULE: Final = re.compile(r"(?<![\w./])(?P<name>(?:cxrlib|cxr_schemas|cxr_pipelines|cxr_flows|tests)(?:\.\w+)+)")
#: "`name` in [file](path)": the name of something that the file defines.
_NAME_IN: Final = re.compile(r"`(?P<name>\w+)`\s+in\s+\[[^\]]+\]\((?P<target>[^)#]+\.\w+)\)")
#: Pages about the past name things by their old names.
_PRESENT: Final = [page for page in pages() if page != "CHANGELOG.md"]


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    missing = []
    for match in _LINK.finditer(_text(page)):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(str(path.relative_to(ROOT)))):
            missing.append(match["target"])
    assert missing == []


@pytest.mark.parametrize("page", _PRESENT)
def test_paths_in_code_exist(page: str) -> None:
    here = (ROOT / page).parent
    named = {match["path"] for code in _CODE.finditer(_text(page)) for match in _PATH.finditer(code["code"])}
    missing = {path for path in named if not ((ROOT / path).exists() or (here / path).exists())}
    assert missing - {"infra/.env"} == set()


@pytest.mark.parametrize("page", _PRESENT)
def test_a_name_in_a_linked_file_is_there(page: str) -> None:
    named = [(match["name"], match["target"]) for match in _NAME_IN.finditer(_text(page))]
    missing = [name for name, target in named if name not in ((ROOT / page).parent / target).read_text("utf-8")]
    assert missing == []


@pytest.mark.parametrize("page", _PRESENT)
def test_dotted_names_can_be_imported(page: str) -> None:
    missing = [name for name in set(_MODULE.findall(_text(page))) if not _exists(name)]
    assert missing == []


def _exists(name: str) -> bool:
    """Return whether `name` is a module, or an attribute defined in one."""
    parent, _, last = name.rpartition(".")
    try:
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    try:
        spec = find_spec(parent)
    except ModuleNotFoundError:
        return False
    if spec is None or spec.origin is None:
        return False
    source = Path(spec.origin).read_text(encoding="utf-8")
    return re.search(rf"\b{last}\b", source) is not None

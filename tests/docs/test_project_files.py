"""The images that infra/ names have the version of the project, and the licence has its text."""

from __future__ import annotations

import re
import tomllib

from cxrlib.extras import BUILDS_ON
from tests.support.paths import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_image_tags_are_the_version_of_the_project() -> None:
    paths = [*(ROOT / "infra").glob("*"), *(ROOT / "infra" / "kubernetes").glob("*.yaml")]
    texts = {path: path.read_text(encoding="utf-8") for path in paths if path.is_file() and path.name != ".env"}
    tags = {(path.name, tag) for path, text in texts.items() for tag in re.findall(r"\bcxr:(\d[\w.]*\d)", text)}
    assert tags
    assert {tag for _, tag in tags} == {VERSION}


def test_image_has_the_extras_of_its_roles_and_no_test_tools() -> None:
    container = (ROOT / "infra" / "Containerfile").read_text(encoding="utf-8")
    page = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")
    (default,) = re.findall(r"^ARG EXTRAS=(\S+)$", container, re.MULTILINE)
    assert f"EXTRAS={default}`" in page
    named = {
        extra
        for text in (container, page)
        for found in re.findall(r"EXTRAS=([\w,]+)", text)
        for extra in found.split(",")
    }
    assert named <= BUILDS_ON.keys() - {"demo"}
    assert {"score", "flows"} <= set(default.split(","))


def test_licence_is_the_text_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text

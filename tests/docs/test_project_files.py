"""The images that infra/ names have the version of the project, and the licence has its text."""

from __future__ import annotations

import re
import tomllib

from tests.support.paths import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_image_tags_are_the_version_of_the_project() -> None:
    paths = [*(ROOT / "infra").glob("*"), *(ROOT / "infra" / "kubernetes").glob("*.yaml")]
    texts = {path: path.read_text(encoding="utf-8") for path in paths if path.is_file() and path.name != ".env"}
    tags = {(path.name, tag) for path, text in texts.items() for tag in re.findall(r"\bcxr:(\d[\w.]*\d)", text)}
    assert tags
    assert {tag for _, tag in tags} == {VERSION}


def test_licence_is_the_text_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text

"""Every code block of every README is run by some test, or is a make target that is itself a lane."""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from tests.docs.readme_blocks import Block, all_blocks, blocks, pages
from tests.support.paths import ROOT

_LOCAL: Final = "tests/docs/test_readme_commands.py"
_SERVERS: Final = "tests/cluster/test_readme.py"

#: The test that runs the blocks of each section.
RUN_BY: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("README.md", "Install"): (_LOCAL, "test_shell_completion_works"),
    ("README.md", "Score a folder"): (_LOCAL, "test_score_a_folder"),
    ("README.md", "Score a bucket"): (_SERVERS, "test_score_a_bucket"),
    ("README.md", "Read the results"): (_LOCAL, "test_read_the_results"),
    ("README.md", "Nightly"): (_SERVERS, "test_nightly"),
    ("README.md", "Backfill"): (_SERVERS, "test_backfill"),
    ("README.md", "Cluster"): (_SERVERS, "test_cluster"),
    ("cxrlib/models/README.md", "Models"): (_LOCAL, "test_list_and_show_models"),
    ("cxrlib/models/README.md", "Pretrained encoders"): (_LOCAL, "test_list_the_encoders"),
    ("cxrlib/models/README.md", "Accuracy of the default bundle"): (_LOCAL, "test_evaluate_a_bundle"),
    ("cxrlib/reading/README.md", "Reading: the bytes of a film to one upright grey image"): (
        _LOCAL,
        "test_read_one_film",
    ),
    ("flows/README.md", "See what a results root holds"): (_LOCAL, "test_see_what_a_results_root_holds"),
    ("flows/README.md", "Copy it into few large files"): (_LOCAL, "test_copy_into_few_large_files"),
    ("flows/README.md", "Score again with another bundle"): (_LOCAL, "test_score_again_with_another_bundle"),
    ("flows/README.md", "Control a backfill"): (_SERVERS, "test_control_a_backfill"),
    ("infra/README.md", "Prefect"): ("tests/cluster/servers/prefect_server.py", "prefect_server"),
    ("schemas/README.md", "Scores"): (_LOCAL, "test_decode_the_masks_of_a_row"),
}


def _is_make(block: Block) -> bool:
    return all(command.startswith("make ") for command in block.commands)


def test_every_block_is_run_by_a_test() -> None:
    sections = {(block.page, block.section) for block in all_blocks() if not _is_make(block)}
    assert sections == set(RUN_BY)


@pytest.mark.parametrize("section", RUN_BY, ids="/".join)
def test_the_test_of_a_section_names_it(section: tuple[str, str]) -> None:
    page, heading = section
    path, name = RUN_BY[section]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (function,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    texts = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
    assert heading in texts
    assert page == "README.md" or page in texts


def test_make_targets_of_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        target
        for page in pages()
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert named <= targets


def test_a_section_without_code_is_an_error() -> None:
    with pytest.raises(LookupError, match="Glossary"):
        blocks("Glossary")

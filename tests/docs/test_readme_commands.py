"""The pages followed to the letter in one folder: every block that needs no server of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from cxrlib.models.bundle import load_bundle, write_bundle
from cxrlib.results.verify import verify
from tests.docs.dated_films import dated_film
from tests.docs.readme_blocks import Block, blocks

FILMS = 6
LIMIT_S = 300


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the pages in an empty folder, with ``cxr`` on the path."""

    folder: Path

    def run(self, command: str) -> str:
        """Run a command as it is written and return its output; it must end with exit code 0."""
        done = subprocess.run(
            ("bash", "-c", command),  # noqa: S607
            env={
                **os.environ,
                "HOME": str(self.folder),
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{output}"
        return output

    def follow(self, section: str, page: str = "README.md") -> list[str]:
        """Run all commands of a section and return the output of each."""
        return [
            self.run(command) for block in blocks(section, page) if not block.language for command in block.commands
        ]


def run_python(block: Block) -> dict[str, object]:
    """Run a block of Python in this process and return its names."""
    names: dict[str, object] = {}
    exec(compile(block.code, block.page, "exec"), names)  # noqa: S102 - the project's own page
    return names


def of_language(language: str, section: str, page: str = "README.md") -> Block:
    """Return the one block of a language in a section."""
    (block,) = [block for block in blocks(section, page) if block.language == language]
    return block


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A folder of films, a second bundle, and the results of "Score a folder"."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "films").mkdir()
    for seed in range(FILMS):
        (folder / "films" / f"{seed}").write_bytes(dated_film(seed, f"2025{1 + seed:02d}15"))
    (folder / "film.dcm").write_bytes(dated_film(0, "20250115"))
    default = load_bundle("default")
    named = default.card.bundle.model_copy(update={"name": "v2"})
    write_bundle(str(folder / "models" / "v2"), default.card.model_copy(update={"bundle": named}), default.files)
    reader = Reader(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield reader


@pytest.fixture(scope="module")
def results(reader: Reader) -> str:
    """The results root that "Score a folder" makes."""
    reader.follow("Score a folder")
    return str(reader.folder / "results")


def test_shell_completion_works(reader: Reader) -> None:
    lines = of_language("shell", "Install").code.splitlines()
    bash, zsh, fish = (line.partition("  #")[0].strip() for line in lines)
    assert "complete " in reader.run(f"{bash}; complete -p cxr")
    assert "status" in reader.run("COMP_WORDS='cxr sta' COMP_CWORD=1 _CXR_COMPLETE=bash_complete cxr")
    before = {"zsh": "autoload -U compinit && compinit -u && ", "fish": ""}
    after = {"zsh": "print $_comps[cxr]", "fish": "complete -c cxr"}
    for shell, line in (("zsh", zsh), ("fish", fish)):
        script = reader.run(f"_CXR_COMPLETE={shell}_source cxr")
        assert f"_CXR_COMPLETE={shell}_complete" in script
        assert f"_CXR_COMPLETE={shell}_source cxr" in line
        if shutil.which(shell):
            assert "_cxr_completion" in reader.run(f"{shell} -c '{before[shell]}{line}; {after[shell]}'")


def test_score_a_folder(results: str) -> None:
    report = verify(results)
    assert report.ok
    assert report.score_rows == FILMS
    assert blocks("Score a folder")


def test_read_the_results(results: str) -> None:
    names = run_python(of_language("python", "Read the results"))
    assert len(names["films"]) == FILMS  # type: ignore[arg-type]
    grades, rejects = of_language("sql", "Read the results").code.strip().removesuffix(";").split(";")
    assert sum(count for _, count in duckdb.sql(grades).fetchall()) == FILMS
    assert duckdb.sql(rejects).columns == ["uri", "reason", "message"]


def test_decode_the_masks_of_a_row(results: str) -> None:
    names = run_python(of_language("python", "Scores", "schemas/README.md"))
    assert names["lung"].sum() == names["film"].lung_px  # type: ignore[attr-defined]


def test_read_one_film(reader: Reader) -> None:
    page = "cxrlib/reading/README.md"
    run_python(of_language("python", "Reading: the bytes of a film to one upright grey image", page))


def test_list_and_show_models(reader: Reader) -> None:
    listed, shown = reader.follow("Models", "cxrlib/models/README.md")
    assert "default" in listed
    assert "lung" in shown


def test_list_the_encoders(reader: Reader) -> None:
    (listed,) = reader.follow("Pretrained encoders", "cxrlib/models/README.md")
    assert "lung.inceptionresnetv2" in listed


def test_evaluate_a_bundle(reader: Reader) -> None:
    reader.follow("Accuracy of the default bundle", "cxrlib/models/README.md")
    assert (reader.folder / "report" / "report.html").exists()


def test_see_what_a_results_root_holds(reader: Reader, results: str) -> None:
    shown, as_json = reader.follow("See what a results root holds", "flows/README.md")
    assert f"{FILMS}" in shown
    assert as_json.lstrip().startswith("{")


def test_copy_into_few_large_files(reader: Reader, results: str) -> None:
    section, page = "Copy it into few large files", "flows/README.md"
    reader.follow(section, page)
    assert verify(str(reader.folder / "shared")).score_rows == FILMS
    counted = duckdb.sql(of_language("sql", section, page).code).fetchall()
    assert sum(count for _, count in counted) == FILMS


def test_score_again_with_another_bundle(reader: Reader, results: str) -> None:
    for output in reader.follow("Score again with another bundle", "flows/README.md"):
        assert "v2" in output
    assert verify(results).score_rows == 2 * FILMS

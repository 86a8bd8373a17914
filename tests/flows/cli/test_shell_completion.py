"""Shell completion for bash, zsh and fish: commands, options and values, without importing anything heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

SHELLS: Final = ("bash", "zsh", "fish")
#: Typed words, and candidates that must be offered for the last one.
CASES: Final = [
    ("cxr sco", {"score"}),
    ("cxr ", {"score", "nightly", "backfill", "verify", "phantom"}),
    ("cxr score --prec", {"--precision"}),
    ("cxr score ./films --precision ", {"auto", "fp32", "bf16", "fp16"}),
    ("cxr models sh", {"show"}),
    ("cxr backfill re", {"resume"}),
    ("cxr backfill --par", {"--parallel", "--part-size", "--parts"}),
    ("cxr backfill s3://pacs --by ye", {"year"}),
]
HEAVY: Final = {"apache_beam", "numpy", "pandas", "prefect", "pyarrow", "pydantic", "torch"}
#: Runs `cxr` as its entry point does, and prints the modules that it imported on stderr.
CXR: Final = (
    "import sys\n"
    "from cxr_flows.cli.main import main\n"
    "sys.argv[0] = 'cxr'\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    "    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
)


def cxr(environment: Mapping[str, str]) -> tuple[str, set[str]]:
    """Run `cxr` in an environment; return its stdout and the names of the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CXR],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout, set(done.stderr.split())


def words_of(shell: str, typed: str) -> dict[str, str]:
    """Return what the completion script of a shell puts into the environment for a typed line."""
    words = typed.split()
    last = "" if typed.endswith(" ") else words.pop()
    if shell == "fish":  # fish gives the last word in place of its number
        return {"COMP_WORDS": typed, "COMP_CWORD": last}
    return {"COMP_WORDS": " ".join([*words, last]), "COMP_CWORD": str(len(words))}


def values_in(shell: str, answer: str) -> set[str]:
    """Return the offered values in the answer to a completion script."""
    lines = answer.splitlines()
    if shell == "zsh":  # three lines each: type, value, help
        return set(lines[1::3])
    # bash: type,value; fish: type,value<tab>help
    return {line.partition(",")[2].partition("\t")[0] for line in lines}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the completion script of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    paths = {}
    for shell in SHELLS:
        script, _ = cxr({"_CXR_COMPLETE": f"{shell}_source"})
        paths[shell] = folder / f"cxr.{shell}"
        paths[shell].write_text(script, encoding="utf-8")
    return paths


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_asks_cxr_for_candidates(shell: str, scripts: dict[str, Path]) -> None:
    script = scripts[shell].read_text(encoding="utf-8")
    assert f"_CXR_COMPLETE={shell}_complete" in script
    assert "COMP_CWORD" in script
    if interpreter := shutil.which(shell):  # the shell's own syntax check
        subprocess.run([interpreter, "-n", str(scripts[shell])], check=True, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_commands_options_and_values_are_offered(shell: str, typed: str, expected: set[str]) -> None:
    answer, modules = cxr({"_CXR_COMPLETE": f"{shell}_complete", **words_of(shell, typed)})
    offered = values_in(shell, answer)
    assert expected <= offered
    if not typed.endswith(" "):
        assert all(value.startswith(typed.rpartition(" ")[2]) for value in offered)
    assert not modules & HEAVY


@pytest.mark.parametrize("shell", SHELLS)
def test_sources_are_completed_with_file_names(shell: str) -> None:
    answer, _ = cxr({"_CXR_COMPLETE": f"{shell}_complete", **words_of(shell, "cxr score ./fil")})
    assert "file" in answer.splitlines()[0].partition(",")[0]


@pytest.fixture
def path_with_cxr(tmp_path: Path) -> str:
    """Return a PATH on which `cxr` is found."""
    program = tmp_path / "cxr"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cxr_flows.cli.main "$@"\n')
    program.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        (
            ["bash", "--norc", "--noprofile", "-c"],
            'source "{script}"; COMP_WORDS=(cxr sco); COMP_CWORD=1; _cxr_completion cxr; echo "${{COMPREPLY[@]}}"',
        ),
        (["fish", "--no-config", "-c"], 'source "{script}"; complete -C "cxr sco"'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_installed_shell_completes_a_command(
    shell: list[str], line: str, scripts: dict[str, Path], path_with_cxr: str
) -> None:
    if shutil.which(shell[0]) is None:  # the tests above check every shell's protocol
        return
    done = subprocess.run(
        [*shell, line.format(script=scripts[shell[0]])],
        env={**os.environ, "PATH": path_with_cxr},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split()[0] == "score"

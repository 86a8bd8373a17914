"""The command: instant help, exit codes, one line for a failure, settings from options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import COMMANDS, main
from cxr_flows.cli.options import SETTING_OF, runner_with, settings_from, variable_of
from cxrlib.errors import UsageError
from tests.support.paths import ROOT

HEAVY = ("apache_beam", "numpy", "pandas", "prefect", "pyarrow", "pydantic", "torch")


def _modules_after(*arguments: str) -> set[str]:
    """Return the top-level modules that one call of the command imported, in a process of its own."""
    code = (
        "import sys; from cxr_flows.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if '.' not in m), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("score", "--help"), ("models", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not _modules_after(*arguments) & set(HEAVY)


def test_models_list_imports_no_torch() -> None:
    got = _modules_after("models", "list", "--json")
    assert not got & {"torch", "apache_beam", "prefect", "timm"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_says_what_the_group_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == Exit.SETTLED
    assert "Usage: cxr" in capsys.readouterr().out


def test_group_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.SETTLED
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert all(code.description in text for code in Exit)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["scroe"],
        ["score", "--out", "x"],
        ["score", "a", "--out", "x", "--resume", "r"],
        ["score", "--out", "x", "--resume", "r", "--run-id", "s"],
        ["score", "a"],
        ["score", "a", "--out", "x", "--batch-size", "0"],
        ["phantom", "--out", "x"],
    ],
)
def test_wrong_usage_ends_with_two_and_a_hint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.USAGE
    assert capsys.readouterr().err.strip()


def test_source_that_lists_nothing_ends_with_two_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == Exit.USAGE
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_run_to_take_up_that_was_never_planned_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--resume", "monday", "--out", str(tmp_path)]) == Exit.USAGE
    assert "has no run monday; no run was ever planned there" in capsys.readouterr().err


def test_bundle_that_is_not_there_ends_with_one_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "no-such-bundle"]) == Exit.COULD_NOT_RUN
    error = capsys.readouterr().err
    assert "no-such-bundle" in error
    assert len(error.strip().splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="no-such-bundle"):
        main(["models", "show", "no-such-bundle", "--debug"])


def test_models_list_names_the_default_bundle_and_the_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == Exit.SETTLED
    document = json.loads(capsys.readouterr().out)
    assert "default" in [bundle["name"] for bundle in document["bundles"]]
    assert document["architectures"]


def test_option_goes_over_environment_and_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_RUN__BATCH_SIZE", "7")
    monkeypatch.setenv("CXR_RUN__CHUNK_SIZE", "9")
    settings = settings_from({"batch_size": 5, "chunk_size": None})
    assert (settings.run.batch_size, settings.run.chunk_size, settings.run.films_ahead) == (5, 9, 40)


def test_bad_setting_is_named_by_option_and_variable() -> None:
    with pytest.raises(UsageError, match=r"--chunk-size or CXR_RUN__CHUNK_SIZE: .*greater than or equal to 1"):
        settings_from({"chunk_size": 0})


def test_bad_setting_never_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_PRIVACY__KEY", "the-site-key")
    with pytest.raises(UsageError) as raised:
        settings_from({"chunk_size": 0, "dates": "sometimes"})
    assert "the-site-key" not in str(raised.value)


def test_key_file_that_cannot_be_read_is_said_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        settings_from({"privacy_key_file": str(tmp_path / "no-key")})


def test_every_option_names_a_setting_that_is_there() -> None:
    dump = settings_from({}).model_dump()
    for path in SETTING_OF.values():
        branch = dump
        for part in path:
            assert part in branch, variable_of(path)
            branch = branch[part]


@pytest.mark.parametrize(
    ("runner", "workers", "expected"),
    [
        ("local", None, "local"),
        ("flink", None, "flink"),
        ("local", 1, "local"),
        ("local", 3, "local:3"),
        (" Local", 3, "local:3"),
        ("local:2", 3, "local:3"),
    ],
)
def test_workers_are_those_of_the_local_runner(runner: str, workers: int | None, expected: str) -> None:
    assert runner_with(runner, workers) == expected


def test_a_cluster_takes_no_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for runner, said in (("flink", "--workers is for the local runner"), ("dask", "the runner dask is refused")):
        arguments = [str(tmp_path), "--out", str(tmp_path / "out"), "--runner", runner, "--workers", "2"]
        assert main(["score", *arguments]) == Exit.USAGE
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("spark", "--flink-master is for --runner flink; got the runner spark"),
        ("local", "--flink-master is for --runner flink; got the runner local"),
        ("FlinkRunner", "lists no object"),
    ],
)
def test_a_flink_master_is_for_flink_by_any_of_its_names(
    runner: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--runner", runner]
    assert main(["score", *arguments, "--flink-master", "127.0.0.1:1"]) == Exit.USAGE
    assert said in capsys.readouterr().err

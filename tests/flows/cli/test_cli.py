"""The command `cxr`: fast help, exit codes, one line per failure, settings from options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import COMMANDS, cli, main
from cxr_flows.cli.options import SETTING_OF, runner_with, settings_from, variable_of
from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import load_departures
from tests.support.paths import ROOT

HEAVY = ("apache_beam", "numpy", "pandas", "prefect", "pyarrow", "pydantic", "torch")


def _modules_after(*arguments: str) -> set[str]:
    """Return the top-level modules that a call of the command imports in a new process."""
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


def _every_command() -> list[tuple[str, ...]]:
    """Return the words of every command, including those of groups."""
    words: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        words.append((name,))
        words += [(name, inner) for inner in command.commands] if isinstance(command, click.Group) else []
    return words


@pytest.mark.parametrize("words", _every_command(), ids=" ".join)
def test_help_of_every_command_has_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == Exit.SETTLED
    text = capsys.readouterr().out
    assert f"Usage: cxr {' '.join(words)}" in text
    assert f"  cxr {' '.join(words)}" in text.partition("Example")[2]


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
def test_usage_error_gives_exit_code_2_and_a_message(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.USAGE
    assert capsys.readouterr().err.strip()


def test_empty_source_gives_exit_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == Exit.USAGE
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_resuming_an_unknown_run_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--resume", "monday", "--out", str(tmp_path)]) == Exit.USAGE
    assert "has no run monday; it has no runs" in capsys.readouterr().err


def test_missing_bundle_gives_exit_code_1_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "no-such-bundle"]) == Exit.COULD_NOT_RUN
    error = capsys.readouterr().err
    assert "no-such-bundle" in error
    assert len(error.strip().splitlines()) == 1


def test_debug_raises_the_error() -> None:
    with pytest.raises(Exception, match="no-such-bundle"):
        main(["models", "show", "no-such-bundle", "--debug"])


def test_models_list_prints_bundles_and_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == Exit.SETTLED
    document = json.loads(capsys.readouterr().out)
    assert "default" in [bundle["name"] for bundle in document["bundles"]]
    assert document["architectures"]
    assert document["departures"] == {paper: list(texts) for paper, texts in load_departures().items()}
    assert "no weights ship" in document["statuses"]["trained by its recipe"]


def test_models_list_shows_the_departures_and_what_the_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == Exit.SETTLED
    text = capsys.readouterr().out
    assert "60/20/20" in text
    assert "no weights ship" in text


def test_encoders_are_listed_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert not _modules_after("train", "--encoders") & {"torch", "timm"}
    assert main(["train", "qu-ex-cascaded", "--encoders"]) == Exit.SETTLED
    text = capsys.readouterr().out
    assert "smp-hub/densenet161.imagenet" in text
    assert "amalgam" not in text


def test_option_overrides_environment_and_environment_overrides_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_RUN__BATCH_SIZE", "7")
    monkeypatch.setenv("CXR_RUN__CHUNK_SIZE", "9")
    settings = settings_from({"batch_size": 5, "chunk_size": None})
    assert (settings.run.batch_size, settings.run.chunk_size, settings.run.films_ahead) == (5, 9, 40)


def test_invalid_setting_is_named_by_option_and_variable() -> None:
    with pytest.raises(UsageError, match=r"--chunk-size or CXR_RUN__CHUNK_SIZE: .*greater than or equal to 1"):
        settings_from({"chunk_size": 0})


def test_message_of_an_invalid_setting_hides_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_PRIVACY__KEY", "the-site-key")
    with pytest.raises(UsageError) as raised:
        settings_from({"chunk_size": 0, "dates": "sometimes"})
    assert "the-site-key" not in str(raised.value)


def test_unreadable_key_file_is_reported_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        settings_from({"privacy_key_file": str(tmp_path / "no-key")})


def test_every_option_sets_an_existing_setting() -> None:
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
def test_workers_set_the_processes_of_the_local_runner(runner: str, workers: int | None, expected: str) -> None:
    assert runner_with(runner, workers) == expected


def test_workers_are_refused_for_other_runners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for runner, message in (("flink", "--workers is for the local runner"), ("dask", "the runner dask is refused")):
        arguments = [str(tmp_path), "--out", str(tmp_path / "out"), "--runner", runner, "--workers", "2"]
        assert main(["score", *arguments]) == Exit.USAGE
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ("spark", "--flink-master is for --runner flink; got the runner spark"),
        ("local", "--flink-master is for --runner flink; got the runner local"),
        ("FlinkRunner", "lists no object"),
    ],
)
def test_flink_master_needs_the_flink_runner(
    runner: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--runner", runner]
    assert main(["score", *arguments, "--flink-master", "127.0.0.1:1"]) == Exit.USAGE
    assert message in capsys.readouterr().err

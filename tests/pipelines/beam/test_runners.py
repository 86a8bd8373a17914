"""The choice of a runner: accepted and refused names, and their Beam runners."""

from __future__ import annotations

from importlib import import_module

import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from cxr_pipelines.beam.runners import make_runner
from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import UsageError
from cxrlib.extras import require


def test_local_runner_is_the_in_process_runner() -> None:
    runner, options = make_runner(RunnerChoice.parse("local"))
    assert type(runner) is FnApiRunner
    assert options.view_as(DirectOptions).direct_num_workers == 1


def test_local_runner_with_a_number_starts_worker_processes() -> None:
    choice = RunnerChoice.parse("local:3")
    assert str(choice) == "local:3"
    runner, options = make_runner(choice)
    assert type(runner) is FnApiRunner
    assert options.view_as(DirectOptions).direct_num_workers == 3


@pytest.mark.parametrize(
    ("text", "local", "here"),
    [("local", True, True), (" Local:1", True, True), ("local:2", True, False), ("FlinkRunner", False, False)],
)
def test_choice_states_where_the_work_runs(text: str, local: bool, here: bool) -> None:
    choice = RunnerChoice.parse(text)
    assert (choice.local, choice.here) == (local, here)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("dask", "last batch of films is lost"), ("DaskRunner", "lost"), ("DirectRunner", "downloads a program")],
)
def test_unsafe_runners_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        RunnerChoice.parse(name)


@pytest.mark.parametrize("name", ["nothing", "local:0", "local:x", "flink:2", ""])
def test_unknown_runner_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        RunnerChoice.parse(name)


@pytest.mark.parametrize(
    ("options", "missing"),
    [((), "job_endpoint"), (("--job_endpoint=127.0.0.1:1",), "environment_type")],
)
def test_portable_runner_needs_a_job_server_and_an_environment(options: tuple[str, ...], missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        make_runner(RunnerChoice.parse("portable", options))


@pytest.mark.parametrize("name", ["flink", "spark", "FlinkRunner"])
def test_cluster_runner_is_the_one_of_beam(name: str) -> None:
    options = ("--flink_master=127.0.0.1:1", "--job_endpoint=127.0.0.1:2")
    runner, _ = make_runner(RunnerChoice.parse(name, options))
    assert type(runner).__name__.lower().startswith(name.lower().removesuffix("runner"))


def test_portable_runner_with_its_options_is_the_one_of_beam() -> None:
    options = ("--job_endpoint=127.0.0.1:1", "--environment_type=EXTERNAL", "--environment_config=127.0.0.1:2")
    runner, _ = make_runner(RunnerChoice.parse("portable", options))
    assert type(runner).__name__ == "PortableRunner"


def test_the_extra_cluster_makes_the_runner_and_the_client_of_dataflow() -> None:
    require("this test", "cluster")
    runner, _ = make_runner(RunnerChoice.parse("dataflow"))
    assert type(runner).__name__ == "DataflowRunner"
    assert import_module("apache_beam.runners.dataflow.internal.apiclient").DataflowApplicationClient

"""Calls to a Flink cluster, on a stub of its REST interface: its version, and the cancellation of a run's jobs."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions

from cxr_pipelines.beam.runners import make_runner, managed_job
from cxr_pipelines.flink import FlinkCluster
from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import UsageError
from tests.cluster.servers.services import free_port
from tests.support.flink_stub import FlinkStub


def choice_of(cluster: FlinkStub) -> RunnerChoice:
    return RunnerChoice.parse("flink", (f"--flink_master={cluster.master}",))


def job_name(choice: RunnerChoice) -> str:
    return choice.options[-1].removeprefix("--job_name=")


def test_flink_options_name_the_cluster_version_and_local_workers(
    cluster: FlinkStub,
) -> None:
    _, options = make_runner(choice_of(cluster))
    assert options.view_as(FlinkRunnerOptions).flink_version == "1.19"
    portable = options.view_as(PortableOptions)
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50000")


def test_unsupported_flink_version_is_refused(cluster: FlinkStub) -> None:
    cluster.version = "1.4.2"
    with pytest.raises(UsageError, match=r"version that Beam supports.*got 1\.4"):
        make_runner(choice_of(cluster))


def test_missing_or_unreachable_cluster_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs --flink-master"):
        make_runner(RunnerChoice.parse("flink"))
    with pytest.raises(UsageError, match="expected a Flink job manager at"):
        FlinkCluster(f"127.0.0.1:{free_port()}").version()


def test_job_of_a_killed_process_is_cancelled_before_the_run_resumes(cluster: FlinkStub) -> None:
    with managed_job(choice_of(cluster), "r1", "s3://out") as named:
        name = job_name(named)
    cluster.jobs = {"left": (name, "RUNNING"), "done": (name, "FINISHED"), "other": ("else", "RUNNING")}
    with managed_job(choice_of(cluster), "r1", "s3://out"):
        assert [cluster.state(job) for job in ("left", "done", "other")] == ["CANCELED", "FINISHED", "RUNNING"]


def test_job_is_cancelled_when_its_block_raises(cluster: FlinkStub) -> None:
    with pytest.raises(KeyboardInterrupt), managed_job(choice_of(cluster), "r1", "s3://out") as named:
        cluster.jobs = {"ours": (job_name(named), "RUNNING"), "other": ("else", "RUNNING")}
        raise KeyboardInterrupt
    assert (cluster.state("ours"), cluster.state("other")) == ("CANCELED", "RUNNING")


def test_job_name_depends_on_the_results_root(cluster: FlinkStub) -> None:
    names = set()
    for out in ("s3://a", "s3://b"):
        with managed_job(choice_of(cluster), "r1", out) as named:
            names.add(job_name(named))
    assert len(names) == 2


def test_other_runners_get_no_job_name() -> None:
    choice = RunnerChoice.parse("local:2")
    with managed_job(choice, "r1", "s3://out") as named:
        assert named is choice


@pytest.mark.parametrize(("given", "expected"), [((), "BATCH"), (("PIPELINED",), "PIPELINED")])
def test_batch_exchange_is_the_default(cluster: FlinkStub, given: tuple[str, ...], expected: str) -> None:
    options_given = tuple(f"--execution_mode_for_batch={mode}" for mode in given)
    _, options = make_runner(RunnerChoice.parse("flink", (f"--flink_master={cluster.master}", *options_given)))
    assert [flag for flag in options._flags if "execution_mode" in flag] == [f"--execution_mode_for_batch={expected}"]

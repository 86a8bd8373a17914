"""What is asked of a Flink cluster, by a stand-in of its REST interface: its version, and an end to a run's job."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions

from cxrlib.errors import UsageError
from infra.services import free_port
from pipelines.flink import FlinkCluster
from pipelines.runners import RunnerChoice, attended, make_runner


class StandIn(ThreadingHTTPServer):
    """A cluster of some version with some jobs; a cancelled job is over at the next look."""

    version = "1.19.3"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.jobs: dict[str, tuple[str, str]] = {}

    @property
    def master(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def state(self, identifier: str) -> str:
        return self.jobs[identifier][1]


class _Answers(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        jobs = [{"jid": jid, "name": name, "state": state} for jid, (name, state) in self.server.jobs.items()]
        self._answer({"jobs": jobs} if self.path == "/jobs/overview" else {"flink-version": self.server.version})

    def do_PATCH(self) -> None:
        identifier, _, mode = self.path.removeprefix("/jobs/").partition("?")
        assert mode == "mode=cancel"
        self.server.jobs[identifier] = (self.server.jobs[identifier][0], "CANCELED")
        self._answer({})

    def _answer(self, what: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def cluster() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def choice_of(cluster: StandIn) -> RunnerChoice:
    return RunnerChoice.parse("flink", (f"--flink_master={cluster.master}",))


def job_name(choice: RunnerChoice) -> str:
    return choice.options[-1].removeprefix("--job_name=")


def test_the_job_server_is_of_the_clusters_version_and_the_workers_stand_beside_the_task_managers(
    cluster: StandIn,
) -> None:
    _, options = make_runner(choice_of(cluster))
    assert options.view_as(FlinkRunnerOptions).flink_version == "1.19"
    portable = options.view_as(PortableOptions)
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50000")


def test_a_version_that_beam_does_not_run_on_is_refused(cluster: StandIn) -> None:
    cluster.version = "1.4.2"
    with pytest.raises(UsageError, match=r"version that Beam runs on.*met 1\.4"):
        make_runner(choice_of(cluster))


def test_a_cluster_that_is_not_named_or_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs --flink-master"):
        make_runner(RunnerChoice.parse("flink"))
    with pytest.raises(UsageError, match="expected a Flink job manager at"):
        FlinkCluster(f"127.0.0.1:{free_port()}").version()


def test_what_a_killed_process_left_of_a_run_is_ended_before_the_run_goes_on(cluster: StandIn) -> None:
    with attended(choice_of(cluster), "r1", "s3://out") as named:
        name = job_name(named)
    cluster.jobs = {"left": (name, "RUNNING"), "done": (name, "FINISHED"), "other": ("else", "RUNNING")}
    with attended(choice_of(cluster), "r1", "s3://out"):
        assert [cluster.state(job) for job in ("left", "done", "other")] == ["CANCELED", "FINISHED", "RUNNING"]


def test_a_job_ends_with_the_block_that_ends_badly_and_goes_on_with_none_else(cluster: StandIn) -> None:
    with pytest.raises(KeyboardInterrupt), attended(choice_of(cluster), "r1", "s3://out") as named:
        cluster.jobs = {"ours": (job_name(named), "RUNNING"), "other": ("else", "RUNNING")}
        raise KeyboardInterrupt
    assert (cluster.state("ours"), cluster.state("other")) == ("CANCELED", "RUNNING")


def test_one_run_id_in_two_results_roots_names_two_jobs(cluster: StandIn) -> None:
    names = set()
    for out in ("s3://a", "s3://b"):
        with attended(choice_of(cluster), "r1", out) as named:
            names.add(job_name(named))
    assert len(names) == 2


def test_other_runners_are_left_alone() -> None:
    choice = RunnerChoice.parse("local:2")
    with attended(choice, "r1", "s3://out") as named:
        assert named is choice


@pytest.mark.parametrize(("given", "expected"), [((), "BATCH"), (("PIPELINED",), "PIPELINED")])
def test_tasks_need_no_slots_beside_one_another_unless_that_is_asked_for(
    cluster: StandIn, given: tuple[str, ...], expected: str
) -> None:
    asked = tuple(f"--execution_mode_for_batch={mode}" for mode in given)
    _, options = make_runner(RunnerChoice.parse("flink", (f"--flink_master={cluster.master}", *asked)))
    assert [flag for flag in options._flags if "execution_mode" in flag] == [f"--execution_mode_for_batch={expected}"]

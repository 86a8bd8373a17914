"""The Prefect tasks, on a temporary server: which failures are retried, and how."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from cxr_flows import tasks
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import RunManifest
from cxrlib.errors import RunError, UsageError
from cxrlib.settings import Settings
from tests.support.manifests import closed_manifest

JOB = ScoreJob.of(Settings(), sources=("memory://films",), out="memory://out", run_id="r1")


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


class _Runs:
    """Replaces `run_job`: raises each of `errors` in turn, then returns a closed run."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.resumed: list[bool] = []

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None]) -> RunManifest:
        self.resumed.append(job.resume)
        on_progress(Progress(done=1, total=1))
        if self.errors:
            raise self.errors.pop(0)
        return closed_manifest()


@flow
def _score_only() -> RunManifest:
    return tasks.score_archive.with_options(retry_delay_seconds=0)(JOB)


def test_failed_run_is_resumed_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _Runs(RunError("the scoring process was ended by SIGKILL"))
    monkeypatch.setattr(tasks, "run_job", runs)
    assert _score_only().run_id == "r1"
    assert runs.resumed == [False, True]


def test_usage_error_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _Runs(UsageError("the source lists no object"))
    monkeypatch.setattr(tasks, "run_job", runs)
    with pytest.raises(UsageError, match="lists no object"):
        _score_only()
    assert runs.resumed == [False]


@flow
def _score_within_a_second() -> RunManifest:
    return tasks.score_archive.with_options(retry_delay_seconds=0, timeout_seconds=1)(JOB)


def test_hanging_try_is_ended_and_the_run_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []
    runs = _Runs()

    def hang_once(job: ScoreJob, on_progress: Callable[[Progress], None]) -> RunManifest:
        if codes:
            return runs(job, on_progress)
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                child.communicate()  # as `run_job` waits for messages
            finally:
                child.kill()
                codes.append(child.wait())
        raise AssertionError("the child ended by itself")

    monkeypatch.setattr(tasks, "run_job", hang_once)
    assert _score_within_a_second().run_id == "r1"
    assert codes == [-signal.SIGKILL]
    assert runs.resumed == [True]
